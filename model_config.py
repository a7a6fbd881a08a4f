"""Options of every network, chosen by `model.name`, and of every task, chosen by `task.name`.

To add a network: `models/<name>.py` and one class here below `Network`. To add a task:
`tasks/<name>.py` and one class below `TaskConfig`. What the files hold: `model.py`.
"""

from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field

from cli.typed_yaml import (
    Bool,
    Float,
    Int,
    Multiplier,
    PathText,
    Rate,
    Section,
    Width,
    one_of,
    or_name,
)

L2 = Annotated[
    Float,
    Field(ge=0, description="L2 penalty on dense kernels: l2 * sum(w^2) is added to the loss."),
]
Channels = Annotated[
    Multiplier,
    Field(description="Multiplier of the channels, rounded to multiples of 8."),
]
Dropout = Annotated[Rate, Field(description="Dropout rate before the logits.")]


class Network(Section):
    """Hyper-parameters of a network; a class below it with a `name` can be chosen in `model`."""


class Lenet(Network):
    """LeNet-5, models/lenet.py."""

    name: Literal["lenet"]
    activation: Literal["relu", "tanh"] = "relu"
    """Activation of every layer but the last."""
    dropout: Dropout = 0.0
    l2: L2 = 0.0


class Mlp(Network):
    """Fully connected layers, models/mlp.py."""

    name: Literal["mlp"]
    hidden: list[Width] = [512, 512]
    """Units of each hidden layer; []: softmax regression."""
    activation: Literal["relu", "tanh"] = "relu"
    """Activation of the hidden layers."""
    dropout: Rate = 0.0
    """Dropout rate after every hidden layer."""
    l2: L2 = 0.0


# ---- networks for images


class Vgg(Network):
    """VGG, models/vgg.py."""

    name: Literal["vgg"]
    depth: Literal[13, 16] = 13
    """Layers; 16: the paper's D; 13: its convolutions with BN, PReLU, a fully convolutional
    head."""
    width: Channels = 1.0
    dropout: Rate = 0.5
    """Dropout rate before the scores of depth 13; after fc6 and fc7 of 16."""


class Squeezenet(Network):
    """SqueezeNet, models/squeezenet.py."""

    name: Literal["squeezenet"]
    width: Channels = 1.0
    bypass: Bool = False
    """Shortcuts around every second fire module."""
    dropout: Rate = 0.5
    """Dropout rate after fire9."""


class Resnet(Network):
    """Residual networks, models/resnet.py."""

    name: Literal["resnet"]
    depth: Literal[18, 34, 50, 101, 152, 20, 32, 44, 56, 110] = 20
    """Layers; 20, 32, 44, 56, 110: of CIFAR; others: of ImageNet."""
    width: Channels = 1.0
    dropout: Dropout = 0.0


class Inception(Network):
    """A small Inception-v2, models/inception.py."""

    name: Literal["inception"]
    modules: Width = 2
    """Modules after each of the two grid reductions."""
    width: Channels = 1.0
    dropout: Dropout = 0.0


class Mobilenet(Network):
    """MobileNetV2, models/mobilenet.py."""

    name: Literal["mobilenet"]
    width: Multiplier = 1.0
    """Multiplier of the channels, rounded to multiples of 8; of the last 1,280 only where
    above 1."""
    depth: Multiplier = 1.0
    """Multiplier of the blocks of each stage, at least 1."""
    resolution: Multiplier = 1.0
    """Multiplier of the height and width of the images."""
    shortcut: Literal["identity", "projection"] = "identity"
    """Shortcut; projection: also around blocks that change shapes."""
    dropout: Dropout = 0.0


class Xception(Network):
    """Xception, models/xception.py."""

    name: Literal["xception"]
    aligned: Bool = True
    """The 41 layers for dense prediction; false: the 36 of the first paper."""
    middle: Width = 8
    """Units of the middle flow; 16 make 65 layers of 41."""
    width: Channels = 1.0
    output_stride: Literal[4, 8, 16, 32] = 32
    """Size of the image over that of the last features, at most."""
    dropout: Dropout = 0.5


BACKBONES = """
    ConvNeXtBase ConvNeXtLarge ConvNeXtSmall ConvNeXtTiny ConvNeXtXLarge DenseNet121 DenseNet169
    DenseNet201 EfficientNetB0 EfficientNetB1 EfficientNetB2 EfficientNetB3 EfficientNetB4
    EfficientNetB5 EfficientNetB6 EfficientNetB7 EfficientNetV2B0 EfficientNetV2B1
    EfficientNetV2B2 EfficientNetV2B3 EfficientNetV2L EfficientNetV2M EfficientNetV2S
    InceptionResNetV2 InceptionV3 MobileNet MobileNetV2 MobileNetV3Large MobileNetV3Small
    NASNetLarge NASNetMobile ResNet101 ResNet101V2 ResNet152 ResNet152V2 ResNet50 ResNet50V2
    VGG16 VGG19 Xception
"""


def _weights(value: str) -> str:
    if value != "imagenet" and not value.endswith((".h5", ".hdf5")):
        raise ValueError(f"expected null, imagenet, or the path of an .h5 file, got {value!r}")
    return value


class Pretrained(Network):
    """A backbone of keras.applications with a new head, models/pretrained.py."""

    name: Literal["pretrained"]
    backbone: Literal[tuple(BACKBONES.split())] = "MobileNetV2"
    """Backbone, a function of keras.applications."""
    weights: Annotated[PathText, AfterValidator(_weights)] | None = None
    """Weights: imagenet, path of an .h5 file, or null: random."""
    size: Int | None = Field(None, ge=32)
    """Height and width to which images are resized first; null: as they come."""
    pooling: Literal["avg", "max"] = "avg"
    """Pooling over the places of the backbone's last features."""
    dropout: Dropout = 0.2


class Autoencoder(Network):
    """A convolutional autoencoder, models/autoencoder.py."""

    name: Literal["autoencoder"]
    filters: list[Width] = Field([32, 64], min_length=1)
    """Filters of each stage; each halves height and width."""
    upsampling: Literal["nearest", "transposed"] = "nearest"
    """Layer with which the decoder doubles height and width."""
    skip: Bool = False
    """Features of the encoder beside those of the decoder: for damage, not for compression."""
    residual: Bool = False
    """Sum of output and input: the network says what to change."""


class Unet(Network):
    """U-Net, models/unet.py."""

    name: Literal["unet"]
    depth: Width = 4
    """How often height and width are halved."""
    width: Channels = 1.0


class Hourglass(Network):
    """An hourglass with a soft-argmax of its heat maps, models/hourglass.py."""

    name: Literal["hourglass"]
    depth: Width = 4
    """How often height and width are halved."""
    width: Channels = 1.0


# ---- networks for sequences


class Embedding(Section):
    """Vectors for tokens."""


class Learned(Embedding):
    name: Literal["learned"]
    size: Width = 64
    """Numbers of a token's vector."""


class OneHotTokens(Embedding):
    name: Literal["one_hot"]


class WordVectors(Embedding):
    name: Literal["file"]
    path: PathText
    """GloVe or word2vec file as text: a token and its numbers on each line."""
    size: Width
    """Numbers on each line."""
    trainable: Bool = True
    """Training of the vectors; false: as in the file."""


class Rnn(Network):
    """Recurrent layers, models/rnn.py."""

    name: Literal["rnn"]
    cell: Literal["simple", "lstm", "gru"] = "lstm"
    """Cell of every layer."""
    bidirectional: Bool = False
    """Layers that read from both ends."""
    units: Width = 128
    """Units of each layer, in each direction."""
    layers: Width = 1
    """Number of layers."""
    dropout: Rate = 0.0
    """Dropout rate of embeddings, between layers and before the logits."""
    output: Literal["one", "many"] = "one"
    """One output, after the last step, or one for every step."""
    relative: Bool = False
    """Numbers less those of the last step, for the recurrent layers."""
    autoregressive: Int = Field(0, ge=0)
    """Number of last steps of which a linear function is added to the output."""
    embedding: one_of(Embedding, default="learned") = {}
    """Vectors for tokens."""


class Encoder(Section):
    units: Width = 128
    """Units of each layer, in each direction."""
    layers: Width = 2
    """Number of layers."""
    bidirectional: Bool = True
    """Layers that read from both ends."""


class Decoder(Section):
    units: Width = 256
    """Units of each layer."""
    layers: Width = 1
    """Number of layers."""


class Seq2seq(Network):
    """Encoder, attention, decoder, models/seq2seq.py."""

    name: Literal["seq2seq"]
    cell: Literal["gru", "lstm"] = "gru"
    """Cell of encoder and decoder."""
    embedding: Width = 64
    """Numbers of a token's vector, on both sides."""
    encoder: Encoder = {}
    """Encoder of the source."""
    decoder: Decoder = {}
    """Decoder, which writes the targets."""
    attention: Literal[
        "none",
        "luong_dot",
        "luong_general",
        "luong_concat",
        "bahdanau",
    ] = "luong_dot"
    """Attention of the decoder to the source."""
    dropout: Rate = 0.0
    """Dropout rate between all layers."""

    @property
    def encoder_outputs(self) -> int:
        return self.encoder.units * (2 if self.encoder.bidirectional else 1)


class SkipGram(Network):
    """Two vectors for each token, models/skip_gram.py."""

    name: Literal["skip_gram"]
    size: Width = 32
    """Numbers of a vector."""


# ---- losses and metrics for labels


class LabelLoss(Section):
    """A loss for labels: the function of its name in tasks/losses.py."""


class CrossEntropy(LabelLoss):
    """-sum(p log q) of target probabilities p and predicted q."""

    name: Literal["cross_entropy"]


class Focal(LabelLoss):
    """Cross entropy in which easy items weigh little. Lin et al., Focal loss, 2017, section 3.2."""

    name: Literal["focal"]


class LabelMetric(Section):
    """A metric for labels: the function or the class of its name in tasks/metrics.py."""

    more_classes_than: ClassVar[int] = 0  # left out where there are no more classes
    in_training: ClassVar[bool] = True  # false: measured in evaluation alone


class Accuracy(LabelMetric):
    """Share of items whose largest logit is the label's."""

    name: Literal["accuracy"]


class Top5Accuracy(LabelMetric):
    """Share of items whose label is among the five largest logits."""

    name: Literal["top_5_accuracy"]
    more_classes_than = 5


class Auc(LabelMetric):
    """Area under the ROC curve of each class that has examples against the rest, averaged."""

    name: Literal["auc"]


class F1(LabelMetric):
    """Harmonic mean of precision and recall of each class that has examples, averaged."""

    name: Literal["f1"]


class MeanIou(LabelMetric):
    """Intersection over union of each class, averaged over those that have examples."""

    name: Literal["mean_iou"]


class ConfusionMatrix(LabelMetric):
    """How many items of each class were taken for which."""

    name: Literal["confusion_matrix"]
    in_training = False


# ---- tasks


class TaskConfig(Section):
    """Options of a task; a class below it with a `name` can be chosen in `task`."""


class LabelTask(TaskConfig):
    """A task whose targets are classes."""

    name: str
    loss: or_name(one_of(LabelLoss)) = "cross_entropy"
    """Distance of logits from a label."""
    label_smoothing: Rate = 0.0
    """Share of each target spread over all classes, for the loss in training and validation."""
    metrics: list[or_name(one_of(LabelMetric))] = ["accuracy", "top_5_accuracy"]
    """Metrics; top_5_accuracy is left out where there are at most 5 classes."""


class ClassificationTask(LabelTask):
    """One label per example, tasks/classification.py."""

    name: Literal["classification"]


class TaggingTask(LabelTask):
    """One label per item of a sequence, tasks/tagging.py."""

    name: Literal["tagging"]


class SegmentationTask(LabelTask):
    """One class per pixel, tasks/segmentation.py."""

    name: Literal["segmentation"]
    metrics: list[or_name(one_of(LabelMetric))] = Field(["accuracy", "mean_iou"])
    """Metrics, of pixels."""


class KeypointsTask(TaskConfig):
    """Points in pictures, tasks/keypoints.py; what is not visible is not scored."""

    name: Literal["keypoints"]
    loss: Literal["mse", "mae", "huber"] = "mse"
    """Loss of x and y as shares of half the larger side of the image, added up."""
    delta: Float = Field(0.1, gt=0)
    """Error, such a share, from which on Huber's loss is straight instead of square."""
    threshold: Float = Field(0.05, gt=0)
    """Share of the larger side up to which a point is correct, for `pck`."""


class MultiLabelTask(TaskConfig):
    """Any number of labels per example: targets are 0 or 1 for each, tasks/multi_label.py."""

    name: Literal["multi_label"]
    threshold: Float = Field(0.5, gt=0, lt=1)
    """Probability from which on a label is given."""


class Seq2seqTask(TaskConfig):
    """A sequence of tokens from another one, tasks/seq2seq.py."""

    name: Literal["seq2seq"]
    label_smoothing: Rate = 0.0
    """Share of each target spread over all tokens."""
    beam: Width = 1
    """Width of the beam search in evaluation; 1: greedy."""


class RegressionTask(TaskConfig):
    """Numbers, tasks/regression.py; metrics are in the data's units: scaling is undone."""

    name: Literal["regression"]
    loss: Literal["mse", "mae", "huber"] = "mse"
    """Loss of the scaled targets."""
    delta: Float = Field(1.0, gt=0)
    """Error from which on Huber's loss is straight instead of square."""
    persistence: Int | None = Field(None, ge=0)
    """Column of the inputs whose last value is the forecast to beat: gives `skill`."""


class ReconstructionTask(TaskConfig):
    """Inputs from damaged inputs, tasks/reconstruction.py."""

    name: Literal["reconstruction"]
    loss: Literal["mse", "mae"] = "mse"
    """Loss, a mean over the values of an example."""
    peak: Float = Field(1.0, gt=0)
    """Range of the values, for the signal-to-noise ratio."""


class SkipGramTask(TaskConfig):
    """Which tokens stand near which, against random ones, tasks/skip_gram.py."""

    name: Literal["skip_gram"]
    groups: dict[str, list[str]] = {}
    """Tokens by kind; gives `neighbors`: share of near ones of one kind."""
    nearest: Width = 5
    """Number of nearest neighbors that count."""
