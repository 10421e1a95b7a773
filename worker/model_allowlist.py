"""A look into a model file before it is loaded, without tensorflow.

Loading is not safe by itself. tf_keras runs the Python code that a Lambda layer or a recurrent cell's
wrapper carries in an H5 file, calls any function of TensorFlow that a TFOpLambda layer names, and imports
any module that a configuration names. So a file is loaded only if all that it names is known: layers of
Keras' own whose configuration is numbers and names.
"""

import hashlib
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py

MAX_CONFIG_BYTES = 64 * 2**20
"""Of a configuration in a .keras file; EfficientNetV2L's has half a megabyte."""

MAX_MESSAGE = 2000
"""Characters of what is said of a file; a hundred unknown layers would only say it more slowly."""


class ModelError(Exception):
    """The model, its classes or its thresholds can't be served; the message is one line for the operator."""

    def __init__(self, message: str) -> None:
        # It quotes what stands in the file: no line of the log begins there, and no terminal obeys it.
        shown = "".join(each if each.isprintable() else " " for each in message[:MAX_MESSAGE])
        super().__init__(" ".join(shown.split()))


@dataclass(frozen=True)
class Inspection:
    """What a model file says of itself: `format` is 'h5', 'keras' or 'savedmodel'.

    `layers` are the names of its layers' classes, `fingerprint` is the SHA-256 of its bytes.
    """

    format: str
    keras_version: str
    layers: tuple[str, ...]
    fingerprint: str


_LAYERS = """
    Functional Model Sequential Activation ActivityRegularization AdaptiveAveragePooling1D
    AdaptiveAveragePooling2D AdaptiveAveragePooling3D AdaptiveMaxPooling1D AdaptiveMaxPooling2D
    AdaptiveMaxPooling3D Add AdditiveAttention AlphaDropout Attention AugMix AutoContrast Average
    AveragePooling1D AveragePooling2D AveragePooling3D BatchNormalization BatchNormalizationV1
    BatchNormalizationV2 Bidirectional CategoryEncoding CenterCrop Concatenate
    ContrastLimitedAdaptiveHistogramEqualization Conv1D Conv1DTranspose Conv2D Conv2DTranspose Conv3D
    Conv3DTranspose ConvLSTM1D ConvLSTM2D ConvLSTM3D Cropping1D Cropping2D Cropping3D CustomScaleLayer
    Custom>CustomScaleLayer CutMix Dense DepthwiseConv1D DepthwiseConv2D Discretization Dot Dropout ELU
    EinsumDense Embedding Equalization Flatten GRU GRUCell GaussianDropout GaussianNoise
    GlobalAveragePooling1D GlobalAveragePooling2D GlobalAveragePooling3D GlobalMaxPooling1D
    GlobalMaxPooling2D GlobalMaxPooling3D GroupNormalization GroupedQueryAttention Identity InputLayer LSTM
    LSTMCell LayerNormalization LayerScale LeakyReLU LocallyConnected1D LocallyConnected2D Masking
    MaxNumBoundingBoxes MaxPooling1D MaxPooling2D MaxPooling3D Maximum MelSpectrogram Minimum MixUp
    MultiHeadAttention Multiply Normalization PReLU Permute Pipeline RMSNormalization RNN RandAugment
    RandomBrightness RandomColorDegeneration RandomColorJitter RandomContrast RandomCrop
    RandomElasticTransform RandomErasing RandomFlip RandomGaussianBlur RandomGrayscale RandomHeight RandomHue
    RandomInvert RandomPerspective RandomPosterization RandomRotation RandomSaturation RandomSharpness
    RandomShear RandomTranslation RandomWidth RandomZoom ReLU RepeatVector Rescaling Reshape Resizing
    ReversibleEmbedding STFTSpectrogram SeparableConv1D SeparableConv2D SimpleRNN SimpleRNNCell Softmax
    Solarization SpatialDropout1D SpatialDropout2D SpatialDropout3D SpectralNormalization StackedRNNCells
    Subtract SyncBatchNormalization ThresholdedReLU TimeDistributed UnitNormalization UpSampling1D
    UpSampling2D UpSampling3D ZeroPadding1D ZeroPadding2D ZeroPadding3D
"""
_PARTS_OF_LAYERS = """
    Constant GlorotNormal GlorotUniform HeNormal HeUniform LecunNormal LecunUniform Ones Orthogonal
    RandomNormal RandomUniform STFT TruncatedNormal VarianceScaling Zeros L1 L1L2 L2 OrthogonalRegularizer
    MaxNorm MinMaxNorm NonNeg RadialConstraint UnitNorm DTypePolicy DTypePolicyMap FloatDTypePolicy Policy
    QuantizedDTypePolicy QuantizedFloat8DTypePolicy TensorShape __bytes__ __ellipsis__ __keras_tensor__
    __numpy__ __slice__ __tensor__ __tuple__
"""
KNOWN = frozenset(_LAYERS.split() + _PARTS_OF_LAYERS.split())
"""Classes that a configuration may name: of the layers of both Kerases (a test compares) all but those that
hold code or load a file."""

_ACTIVATIONS = """
    celu elu exponential gelu glu hard_shrink hard_sigmoid hard_silu hard_swish hard_tanh leaky_relu linear
    log_sigmoid log_softmax mish relu relu6 selu sigmoid silu soft_shrink softmax softplus softsign
    sparse_plus sparse_sigmoid sparsemax squareplus swish tanh tanh_shrink threshold
"""
_KERAS_OPS = ("image", "linalg", "math", "nn", "numpy")
_CORE_OPS = ("Cast", "ConvertToTensor", "Shape", "Slice", "StopGradient", "Unstack")
_TF_FUNCTIONS = """
    abs add add_n argmax argmin broadcast_to cast clip_by_value concat convert_to_tensor cos divide einsum exp
    expand_dims eye fill floor gather gather_nd identity matmul maximum minimum multiply negative norm one_hot
    ones ones_like pad pow range rank realdiv reduce_max reduce_mean reduce_min reduce_prod reduce_sum repeat
    reshape reverse roll round shape sigmoid sign sin size slice split sqrt square squeeze stack stop_gradient
    strided_slice subtract tanh tensordot tile transpose truediv unstack where zeros zeros_like
"""
_TF_NAMESPACES = "__operators__ image keras.activations linalg math nn quantization signal"
_TF_OPERATIONS = """
    Add AddV2 BiasAdd Cast ConcatV2 Conv2D Exp ExpandDims Identity MatMul Max Maximum Mean Min Minimum Mul Neg
    Pack Pad PadV2 Pow Prod RealDiv Relu Relu6 Reshape ResizeBilinear ResizeNearestNeighbor ReverseV2 Rsqrt
    Shape Sigmoid Slice Softmax Split SplitV Sqrt Square Squeeze StridedSlice Sub Sum Tanh Tile Transpose
"""
_BEYOND = """
    CSVDataset CSVDatasetV2 CacheDataset CacheDatasetV2 CalibrationStatisticsSaver CreateSummaryDbWriter
    CreateSummaryFileWriter DTensorRestoreV2 DataServiceDataset DataServiceDatasetV2 DataServiceDatasetV3
    DataServiceDatasetV4 DatasetToTFRecord DebugIdentity DebugIdentityV2 DebugIdentityV3 DistributedSave
    DumpTensor EagerPyFunc ExperimentalCSVDataset ExperimentalDatasetToTFRecord ExperimentalLMDBDataset
    ExperimentalMatchingFilesDataset ExperimentalSqlDataset FileSystemSetConfiguration
    FixedLengthRecordDataset FixedLengthRecordDatasetV2 FixedLengthRecordReader FixedLengthRecordReaderV2
    FixedUnigramCandidateSampler GenerateVocabRemapping ImmutableConst InitializeTableFromTextFile
    InitializeTableFromTextFileV2 LMDBDataset LMDBReader ListSnapshotChunksDataset LoadAndRemapMatrix
    LoadDataset MatchingFiles MatchingFilesDataset PrintV2 PyFunc PyFuncStateless ReadFile RecordInput
    RegisterDataset RegisterDatasetV2 Restore RestoreSlice RpcCall RpcClient RpcServer RpcServerRegister
    RpcServerStart Save SaveDataset SaveDatasetV2 SaveSlices Skipgram SnapshotChunkDataset SnapshotDataset
    SnapshotDatasetReader SnapshotDatasetV2 SnapshotNestedDatasetReader SqlDataset TFRecordDataset
    TFRecordDatasetV2 TFRecordReader TFRecordReaderV2 TextLineDataset TextLineReader TextLineReaderV2
    WholeFileReader WholeFileReaderV2 WriteFile
"""
"""Operations of a TensorFlow graph that reach files, the network or Python (a test looks for others)."""

_TF_INITIALIZERS = "tensorflow.python.ops.init_ops_v2"
"""The one module outside of Keras: tf_keras' EfficientNetV2 names an initializer of it."""

_LOOKS_LIKE = {
    b"PK\x03\x04": "a ZIP archive that is cut off",
    b"version https://git-lfs": "a Git LFS pointer: fetch the file itself with `git lfs pull`",
    b"<": "a web page: download the file itself",
}


def inspect_model(path: Path) -> Inspection:
    """Say what is in a model file (.h5, .hdf5, .keras) or SavedModel folder.

    Of a SavedModel only its operations are checked: it holds no Python, but each holds `SaveV2` and
    `MergeV2Checkpoints`, by which a hostile one could still write a checkpoint, or move one, where the worker
    may write.

    Raises:
        ModelError: it is missing, damaged, without its architecture, or holds code or unknown layers.
    """
    if not path.exists():
        raise ModelError(f"INFERENCE_MODEL: there is no file {path}")
    if path.is_dir():
        return _inspect_saved_model(path)
    try:
        with path.open("rb") as file:
            start = file.read(64).lstrip()
    except OSError as error:
        raise ModelError(f"INFERENCE_MODEL: {path} can't be read: {error.strerror}") from None
    if zipfile.is_zipfile(path):
        return _checked(path, "keras", *_keras_configuration(path))
    if not h5py.is_hdf5(path):
        kind = next((text for head, text in _LOOKS_LIKE.items() if start.startswith(head)), None)
        what = f"it looks like {kind}" if kind else "its first bytes are not HDF5's" if start else "empty"
        raise ModelError(f"{path} is not an HDF5 file: {what}")
    return _checked(path, "h5", *_h5_configuration(path))


def read_configuration(path: Path) -> tuple[str, str]:
    """An H5 or .keras file's configuration (JSON) and Keras' version, of which nothing is judged.

    Raises:
        ModelError: it is damaged, or without its architecture.
    """
    return _keras_configuration(path) if zipfile.is_zipfile(path) else _h5_configuration(path)


def _h5_configuration(path: Path) -> tuple[str, str]:
    try:
        with h5py.File(path, "r") as file:
            config, version = file.attrs.get("model_config"), file.attrs.get("keras_version", b"")
            holds_weights = bool({"layer_names", "layers", "model_weights"} & {*file.attrs, *file})
    except Exception as error:  # damaged bytes make the library raise a handful of kinds
        raise ModelError(f"{path} is a damaged HDF5 file: {_sentence(error)}") from None
    if config is None:
        what = "holds only weights, not the model's architecture" if holds_weights else "is not a Keras model"
        raise ModelError(f"{path} {what}; save it with model.save(…), not model.save_weights(…)")
    return _text(config), _text(version)


def _keras_configuration(path: Path) -> tuple[str, str]:
    try:
        with zipfile.ZipFile(path) as archive:
            config = _member(archive, "config.json").decode()
            version = json.loads(_member(archive, "metadata.json")).get("keras_version", "")
    except Exception as error:  # damaged bytes make the library raise a dozen kinds
        raise ModelError(f"{path} is a ZIP archive, but not a Keras model: {_sentence(error)}") from None
    return config, str(version)


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    if archive.getinfo(name).file_size > MAX_CONFIG_BYTES:  # no more than this is unpacked
        raise ValueError(f"its {name} has more than {MAX_CONFIG_BYTES} bytes")
    return archive.read(name)


def _inspect_saved_model(path: Path) -> Inspection:
    graph = path / "saved_model.pb"
    if not graph.exists():
        raise ModelError(f"{path} is a folder, but not a SavedModel: it has no saved_model.pb")
    digest = hashlib.sha256()
    try:
        content = graph.read_bytes()
        for file in sorted(each for each in path.rglob("*") if each.is_file()):
            digest.update(f"{file.relative_to(path)}\n{_sha256(file)}\n".encode())
    except OSError as error:
        raise ModelError(f"INFERENCE_MODEL: {error.filename} can't be read: {error.strerror}") from None
    for name in _BEYOND.split():
        # In a NodeDef (protobuf) the operation's name is field 2: tag 0x12, its length, the name.
        if b"\x12" + bytes([len(name)]) + name.encode() in content:
            raise ModelError(f"{path} holds the operation {name}, which reaches beyond the model; refused")
    return Inspection("savedmodel", "", (), digest.hexdigest())


def _checked(path: Path, form: str, config: str, version: str) -> Inspection:
    try:
        objects = list(_objects(json.loads(config)))
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path}: the model's configuration can't be read: {_sentence(error)}") from None
    names = {str(each["class_name"]) for each in objects}
    if any(name in ("Lambda", "__lambda__") or name.endswith(">Lambda") for name in names):
        raise ModelError(
            f"{path} has a Lambda layer, which is Python code that loading would run; it is refused: save the"
            " model again with a layer of Keras' own in its place, or export it as a SavedModel folder"
        )
    unknown = sorted({_described(each) for each in objects if not _is_known(each)})
    if unknown:
        calculation = "; a calculation such as x / 255 is kept by .keras files, not by H5 ones of Keras 3"
        hint = calculation if form == "h5" and version.startswith("3") else ""
        raise ModelError(
            f"{path} names {', '.join(unknown)}, which is not a layer of Keras' own; it is refused: where its"
            f" code is, export the model as a SavedModel folder, and serve that{hint}"
        )
    return Inspection(form, version, tuple(sorted(names)), _sha256(path))


def _objects(config: Any) -> Iterator[dict[str, Any]]:
    """Every object with a class name, at any depth."""
    if isinstance(config, dict):
        # What the whole model was trained with (a loss of one's own, say) is not loaded.
        config = {key: value for key, value in config.items() if key != "compile_config"}
    stack = [config]
    while stack:
        each = stack.pop()
        if isinstance(each, dict):
            if "class_name" in each:
                yield each
            stack.extend(each.values())
        elif isinstance(each, list):
            stack.extend(each)


def _is_known(each: dict[str, Any]) -> bool:
    """Whether loading may make this object: Keras looks for it by its name, module and registered name."""
    name, registered = str(each["class_name"]), each.get("registered_name")
    # tf_keras takes the registered name where it does not find the other.
    if registered not in (None, name) and (registered != f"Custom>{name}" or registered not in KNOWN):
        return False
    package, *parts = _module(each)
    if package not in ("keras", "tf_keras", "builtins") and each.get("module") != _TF_INITIALIZERS:
        return False
    if name in ("TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer", "function"):
        return _is_known_function(name, each.get("config"))
    if name in KNOWN:
        return True
    if not (name.isidentifier() and name[0].isupper()):  # a class, and not what its module has imported
        return False
    if parts[:1] == ["ops"]:
        return ".".join(parts[1:]) in _KERAS_OPS or name in _CORE_OPS
    # What a model within the model was trained with, which is loaded.
    return parts[:1] in (["losses"], ["metrics"], ["optimizers"])


def _is_known_function(kind: str, config: Any) -> bool:
    """Whether a layer may call the function of Keras or TensorFlow that its configuration names."""
    if kind == "function":
        return isinstance(config, str) and config in _ACTIVATIONS.split()
    values = config if isinstance(config, dict) else {}
    if kind == "TensorFlowOpLayer":
        node = values.get("node_def")
        return isinstance(node, dict) and node.get("op") in _TF_OPERATIONS.split()
    name = str(values.get("function")).removeprefix("compat.v1.")
    return name in _TF_FUNCTIONS.split() or name.rpartition(".")[0] in _TF_NAMESPACES.split()


def _described(each: dict[str, Any]) -> str:
    name, config = str(each["class_name"]), each.get("config")
    if name == "function":
        return f"the function {config}"
    if isinstance(config, dict) and name in ("TFOpLambda", "SlicingOpLambda"):
        return f"{name} of the function {config.get('function')}"
    known = _module(each)[0] in ("keras", "builtins") and each.get("registered_name") in (None, name)
    return name if known else f"{name} of {each.get('registered_name') or each.get('module')}"


def _module(each: dict[str, Any]) -> list[str]:
    """The parts of the module's public name."""
    module = str(each.get("module") or "keras")
    return [part for part in module.split(".") if part not in ("src", "api", "_tf_keras")] or [""]


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
