# The whole service in one container: a Valkey server, a worker and the gateway.
#
#   docker build --tag classification-server .
#   docker build --tag classification-server --build-arg TAG=latest-gpu .
#   docker run -d --rm -p 8002:8001 -v …/model.h5:/model.h5 -v …/classes.txt:/classes.txt -v …/thresholds.csv:/thresholds.csv classification-server
ARG PYTHON=3.12-slim-trixie

FROM python:${PYTHON} AS build
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends binutils \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
RUN python -m venv --without-pip /venv
COPY requirements/serve.lock requirements/serve-gpu.lock deploy/slim.sh ./
ARG TAG=latest
RUN --mount=type=cache,target=/root/.cache/pip \
    case "$TAG" in latest) lock=serve.lock ;; latest-gpu) lock=serve-gpu.lock ;; *) echo "TAG: expected latest or latest-gpu, got $TAG"; exit 1 ;; esac \
    && pip --python /venv/bin/python install --no-deps --only-binary :all: --require-hashes --requirement "$lock" \
    && ./slim.sh /venv
COPY pyproject.toml README.md LICENSE ./
COPY shared shared
COPY gateway gateway
COPY worker worker
COPY webhooks webhooks
COPY cli cli
COPY classification_client classification_client
COPY demo demo
RUN pip --python /venv/bin/python install --no-deps --no-build-isolation .

FROM python:${PYTHON}
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --uid 10001 --home-dir /tmp --no-create-home classification \
    && install --directory --mode 1777 /data
COPY --from=build /venv /venv
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 SERVER_DATA_DIR=/data INFERENCE_CACHE_DIR=/data/xla
USER 10001
VOLUME /data
EXPOSE 8001
# The container is healthy when a worker has a warm model. A large model takes minutes to load and to warm up.
HEALTHCHECK --interval=10s --timeout=5s --start-period=5m --start-interval=1s \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + (os.environ.get('SERVER_PORT') or '8001') + '/health/ready', timeout=4)"]
ENTRYPOINT ["tini", "--"]
CMD ["classification-server", "serve"]
ARG VERSION=0.1.0
ARG REVISION=
LABEL org.opencontainers.image.title="classification-server" \
      org.opencontainers.image.description="Serves a Keras image classifier over HTTP: gateway, worker and Valkey in one container." \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
