"""Turns images into a model's input, and the model's chosen output into scores.

Models differ in the shapes of their input and output: an input may have no axis for the channels, or have it
first; an output may have axes of length 1; and a model may have several outputs.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from worker.model_allowlist import ModelError

Shape = tuple[int | None, ...]
CHANNELS = (1, 3)


@dataclass(frozen=True)
class ReadModel:
    """A model as a library reads it, with any number of inputs and outputs.

    `call` turns a tensor of the first input's shape into a list with a tensor for each output. `outputs` has
    the name and the shape of each output.
    """

    call: Callable[[Any], list[Any]]
    inputs: Sequence[Shape]
    outputs: Sequence[tuple[str, Shape]]
    loader: str


@dataclass(frozen=True)
class LoadedModel:
    """A loaded model.

    `call` turns inputs, float32 [n, height, width, channels], into scores, float32 [n, outputs]. In
    `input_shape` and `output_shape`, None means any size. A model with one output has two classes.
    """

    call: Callable[[Any], Any]
    input_shape: Shape
    output_shape: Shape
    loader: str


def fit_to_images(model: ReadModel, chosen: str | None, where: str) -> LoadedModel:
    """Return the model as a function of images that returns the scores of the chosen output.

    `chosen` is the name or the index of the output, or None if the model has one output. `where` is the
    model's path for error messages.

    Raises:
        ModelError: the model does not have exactly one input of images, or the output has no scores.
    """
    shape, prepare = _images(model, where)
    index = _output_index(model.outputs, chosen, where)
    classes = _score_count(model.outputs[index], where)

    def call(images: Any) -> Any:
        import tensorflow as tf

        scores = model.call(prepare(images))[index]
        return tf.reshape(scores, [tf.shape(scores)[0], -1 if classes is None else classes])

    return LoadedModel(call, shape, (None, classes), model.loader)


def _images(model: ReadModel, where: str) -> tuple[Shape, Callable[[Any], Any]]:
    """Return the shape of the images, with the channels last, and a function that makes the input of them."""
    if len(model.inputs) != 1:
        raise ModelError(
            f"{where}: expected a model with 1 input, got {len(model.inputs)} inputs. Export a model whose"
            " only input is the image."
        )
    (shape,) = model.inputs
    if len(shape) == 3:
        return (*shape, 1), lambda images: images[..., 0]
    if len(shape) != 4:
        raise ModelError(
            f"{where}: expected an input of shape [images, height, width, channels], got {list(shape)}. Put a"
            " Reshape layer that accepts images in front of the model, and save it again."
        )
    if shape[1] in CHANNELS and shape[3] not in CHANNELS:
        return (shape[0], shape[2], shape[3], shape[1]), _channels_first
    return shape, lambda images: images


def _channels_first(images: Any) -> Any:
    import tensorflow as tf

    return tf.transpose(images, [0, 3, 1, 2])


def _output_index(outputs: Sequence[tuple[str, Shape]], chosen: str | None, where: str) -> int:
    names = [name for name, _ in outputs]
    values = [*names, *map(str, range(len(names))), *([None] if len(names) == 1 else [])]
    if chosen in values:
        return values.index(chosen) % len(names)
    sizes = [_product(shape) for _, shape in outputs]
    listed = ", ".join(f"{at} {name} ({sizes[at]} scores)" for at, name in enumerate(names))
    raise ModelError(
        f"INFERENCE_OUTPUT: expected the name or the index of one of the outputs of {where}, got"
        f" {'nothing' if chosen is None else repr(chosen)}. Set it to one of: {listed}"
    )


def _product(shape: Shape) -> str:
    return "×".join(str(each or "?") for each in shape[1:]) or "1"


def _score_count(output: tuple[str, Shape], where: str) -> int | None:
    """Return the number of scores in an output of shape [images, scores], which may have axes of length 1."""
    name, shape = output
    sizes = [each for each in shape[1:] if each != 1]
    if len(sizes) > 1:
        raise ModelError(
            f"{where}: expected an output of shape [images, classes], got {list(shape)} from {name}. Only"
            " models that classify whole images are supported: add a pooling and a Dense layer, or use"
            " another model."
        )
    return sizes[0] if sizes else 1
