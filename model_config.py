"""The hyper-parameters of every network: one typed class each, chosen by `model.name`.

To add a network: one file in `models/` whose `build(config, spec)` returns a keras.Model, one class here, one YAML.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from cli.typed_yaml import Bool, Float, Int, Multiplier, Rate, Section, Width, one_of, or_name


def _weights(value: str) -> str:
    if value != "imagenet" and not value.endswith((".h5", ".hdf5")):
        raise ValueError(f"expected null, imagenet, or the path of an .h5 file, got {value!r}")
    return value


class Network(Section):
    """Hyper-parameters of a network; a class below it with a `name` can be chosen in `model`."""


class Lenet(Network):
    """LeNet-5, models/lenet.py."""

    name: Literal["lenet"]
    activation: Literal["relu", "tanh"] = Field(
        "relu", description="After every layer but the last."
    )
    dropout: Rate = Field(0.0, description="Share of F6's units dropped in training.")
    l2: Float = Field(
        0.0,
        ge=0,
        description="L2 penalty on the dense kernels: l2 * sum(w^2) is added to the loss.",
    )


class Mlp(Network):
    """Fully connected layers, models/mlp.py."""

    name: Literal["mlp"]
    hidden: list[Width] = Field(
        [512, 512], description="Units of each hidden layer; []: softmax regression."
    )
    activation: Literal["relu", "tanh"] = Field("relu", description="After every hidden layer.")
    dropout: Rate = Field(
        0.0, description="Share of units dropped after every hidden layer in training."
    )
    l2: Float = Field(
        0.0, ge=0, description="L2 penalty on the kernels: l2 * sum(w^2) is added to the loss."
    )


# ------------------------------------------------------------------------------------------------ networks for images


class Vgg(Network):
    """VGG, models/vgg.py."""

    name: Literal["vgg"]
    depth: Literal[13, 16] = Field(
        13,
        description="16: the paper's D; 13: its convolutions with BN, PReLU, a fully convolutional head.",
    )
    width: Multiplier = Field(1.0, description="Times the channels, rounded to multiples of 8.")
    dropout: Rate = Field(
        0.5, description="Before the scores of depth 13; after fc6 and fc7 of depth 16."
    )


class Squeezenet(Network):
    """SqueezeNet, models/squeezenet.py."""

    name: Literal["squeezenet"]
    width: Multiplier = Field(1.0, description="Times the channels, rounded to multiples of 8.")
    bypass: Bool = Field(
        False, description="Add the input of every second fire module to its output."
    )
    dropout: Rate = Field(0.5, description="After fire9.")


class Resnet(Network):
    """Residual networks, models/resnet.py."""

    name: Literal["resnet"]
    depth: Literal[18, 34, 50, 101, 152, 20, 32, 44, 56, 110] = Field(
        20, description="20, 32, 44, 56, 110: of CIFAR; others: of ImageNet."
    )
    width: Multiplier = Field(1.0, description="Times the channels, rounded to multiples of 8.")
    dropout: Rate = Field(0.0, description="Before the logits.")


class Inception(Network):
    """A small Inception-v2, models/inception.py."""

    name: Literal["inception"]
    modules: Width = Field(2, description="Modules after each of the two grid reductions.")
    width: Multiplier = Field(1.0, description="Times the channels, rounded to multiples of 8.")
    dropout: Rate = Field(0.0, description="Before the logits.")


class Mobilenet(Network):
    """MobileNetV2, models/mobilenet.py."""

    name: Literal["mobilenet"]
    width: Multiplier = Field(
        1.0,
        description="Times the channels, rounded to multiples of 8; the last 1,280 only where above 1.",
    )
    depth: Multiplier = Field(1.0, description="Times the blocks of each stage, at least 1.")
    resolution: Multiplier = Field(1.0, description="Times the height and width of the images.")
    shortcut: Literal["identity", "projection"] = Field(
        "identity", description="projection: also around blocks that change shapes."
    )
    dropout: Rate = Field(0.0, description="Before the logits.")


class Xception(Network):
    """Xception, models/xception.py."""

    name: Literal["xception"]
    aligned: Bool = Field(
        True, description="The 41 layers for dense prediction; false: the 36 of the first paper."
    )
    middle: Width = Field(8, description="Units of the middle flow; 16 make 65 layers of 41.")
    width: Multiplier = Field(1.0, description="Times the channels, rounded to multiples of 8.")
    output_stride: Literal[4, 8, 16, 32] = Field(
        32, description="How much coarser the features may be than the image."
    )
    dropout: Rate = Field(0.5, description="Before the logits.")


Backbone = Literal[
    "ConvNeXtBase", "ConvNeXtLarge", "ConvNeXtSmall", "ConvNeXtTiny", "ConvNeXtXLarge", "DenseNet121", "DenseNet169",
    "DenseNet201", "EfficientNetB0", "EfficientNetB1", "EfficientNetB2", "EfficientNetB3", "EfficientNetB4",
    "EfficientNetB5", "EfficientNetB6", "EfficientNetB7", "EfficientNetV2B0", "EfficientNetV2B1", "EfficientNetV2B2",
    "EfficientNetV2B3", "EfficientNetV2L", "EfficientNetV2M", "EfficientNetV2S", "InceptionResNetV2", "InceptionV3",
    "MobileNet", "MobileNetV2", "MobileNetV3Large", "MobileNetV3Small", "NASNetLarge", "NASNetMobile", "ResNet101",
    "ResNet101V2", "ResNet152", "ResNet152V2", "ResNet50", "ResNet50V2", "VGG16", "VGG19", "Xception",
]  # fmt: skip


class Pretrained(Network):
    """A backbone of keras.applications with a new head, models/pretrained.py."""

    name: Literal["pretrained"]
    backbone: Backbone = Field("MobileNetV2", description="A function of keras.applications.")
    weights: Annotated[str, AfterValidator(_weights)] | None = Field(
        None, description="imagenet, path of an .h5 file, or null: random."
    )
    size: Int | None = Field(
        None,
        ge=32,
        description="Height and width to which images are resized first; null: as they come.",
    )
    pooling: Literal["avg", "max"] = Field(
        "avg", description="Over the places of the backbone's last features."
    )
    dropout: Rate = Field(0.2, description="Before the logits.")


class Autoencoder(Network):
    """A convolutional autoencoder, models/autoencoder.py."""

    name: Literal["autoencoder"]
    filters: list[Width] = Field(
        [32, 64], min_length=1, description="Of each stage; each halves height and width."
    )
    upsampling: Literal["nearest", "transposed"] = Field(
        "nearest", description="How the decoder doubles them."
    )
    skip: Bool = Field(
        False,
        description="The decoder also sees what the encoder saw at that size: for damage, not for compression.",
    )
    residual: Bool = Field(
        False, description="The output is added to the input: the network says what to change."
    )


class Embedding(Section):
    """What stands for a token."""


class Learned(Embedding):
    name: Literal["learned"]
    size: Width = Field(64, description="Numbers that stand for a token.")


class OneHotTokens(Embedding):
    name: Literal["one_hot"]


class WordVectors(Embedding):
    name: Literal["file"]
    path: str = Field(
        description="GloVe or word2vec as text: a token and its numbers on each line."
    )
    size: Width = Field(description="Numbers on each line.")
    trainable: Bool = Field(True, description="Go on from them; false: keep them.")


class Rnn(Network):
    """Recurrent layers, models/rnn.py."""

    name: Literal["rnn"]
    cell: Literal["simple", "lstm", "gru"] = Field("lstm", description="Of every layer.")
    bidirectional: Bool = Field(False, description="Read from both ends.")
    units: Width = Field(128, description="Of each layer, in each direction.")
    layers: Width = Field(1, description="Number of layers.")
    dropout: Rate = Field(
        0.0, description="Of embeddings, between layers and before the logits, in training."
    )
    output: Literal["one", "many"] = Field(
        "one", description="One output, after the last step, or one for every step."
    )
    relative: Bool = Field(
        False, description="Of numbers: the recurrent layers see every step less the last one."
    )
    autoregressive: Int = Field(
        0,
        ge=0,
        description="Of numbers: a linear function of so many last steps is added to the one output.",
    )
    embedding: one_of(Embedding, default="learned") = Field(
        {}, description="What stands for a token."
    )


class Encoder(Section):
    units: Width = Field(128, description="Of each layer, in each direction.")
    layers: Width = Field(2, description="Number of layers.")
    bidirectional: Bool = Field(True, description="Read from both ends.")


class Decoder(Section):
    units: Width = Field(256, description="Of each layer.")
    layers: Width = Field(1, description="Number of layers.")


class Seq2seq(Network):
    """Encoder, attention, decoder, models/seq2seq.py."""

    name: Literal["seq2seq"]
    cell: Literal["gru", "lstm"] = Field("gru", description="Of encoder and decoder.")
    embedding: Width = Field(64, description="Numbers that stand for a token, on both sides.")
    encoder: Encoder = Field({}, description="Reads the source.")
    decoder: Decoder = Field({}, description="Writes the targets.")
    attention: Literal["none", "luong_dot", "luong_general", "luong_concat", "bahdanau"] = Field(
        "luong_dot", description="How the decoder looks back at the source."
    )
    dropout: Rate = Field(0.0, description="Between all layers, in training.")

    @property
    def encoder_outputs(self) -> int:
        return self.encoder.units * (2 if self.encoder.bidirectional else 1)


class SkipGram(Network):
    """Two vectors for each token, models/skip_gram.py."""

    name: Literal["skip_gram"]
    size: Width = Field(32, description="Numbers of a vector.")


# ------------------------------------------------------------------------------------- tasks


class LabelLoss(Section):
    """A loss for labels: the function of its name in tasks/losses.py."""


class CrossEntropy(LabelLoss):
    """-sum(p log q) of target probabilities p and predicted q."""

    name: Literal["cross_entropy"]


class Focal(LabelLoss):
    """Cross entropy in which easy items weigh little. Lin et al., Focal loss, 2017, section 3.2."""

    name: Literal["focal"]


class LabelMetric(Section):
    """A metric for labels: the function or class of its name in tasks/metrics.py."""


class Accuracy(LabelMetric):
    """Share of items whose largest logit is the label's."""

    name: Literal["accuracy"]


class Top5Accuracy(LabelMetric):
    """Share of items whose label is among the five largest logits."""

    name: Literal["top_5_accuracy"]


class Auc(LabelMetric):
    """Area under the ROC curve of each class against the rest, averaged over classes."""

    name: Literal["auc"]


class F1(LabelMetric):
    """Harmonic mean of precision and recall of each class, averaged over classes."""

    name: Literal["f1"]


class ConfusionMatrix(LabelMetric):
    """How many items of each class were taken for which."""

    name: Literal["confusion_matrix"]


class TaskConfig(Section):
    """Options of a task; a class below it with a `name` can be chosen in `task`."""


class ClassificationTask(TaskConfig):
    """One label per example; model.py."""

    name: Literal["classification"]
    loss: or_name(one_of(LabelLoss)) = Field(
        "cross_entropy", description="How far logits are from a label."
    )
    label_smoothing: Rate = Field(
        0.0,
        description="Share of each target spread over all classes, in training and validation loss.",
    )
    metrics: list[or_name(one_of(LabelMetric))] = Field(
        ["accuracy", "top_5_accuracy"],
        description="What is measured; top_5_accuracy is left out where there are at most 5 classes.",
    )


class TaggingTask(ClassificationTask):
    """One label per item of a sequence; model.py."""

    name: Literal["tagging"]


class MultiLabelTask(TaskConfig):
    """Any number of labels per example: targets are 0 or 1 for each; model.py."""

    name: Literal["multi_label"]
    threshold: Float = Field(
        0.5, gt=0, lt=1, description="Probability from which on a label is given."
    )


class Seq2seqTask(TaskConfig):
    """A sequence of tokens from another one; model.py."""

    name: Literal["seq2seq"]
    label_smoothing: Rate = Field(0.0, description="Share of each target spread over all tokens.")
    beam: Int = Field(
        1,
        ge=1,
        description="Sequences that are followed beside each other in evaluation; 1: greedy.",
    )


class RegressionTask(TaskConfig):
    """Numbers; model.py. Metrics are in the data's own units: scaling and logarithms of the targets are undone."""

    name: Literal["regression"]
    loss: Literal["mse", "mae", "huber"] = Field(
        "mse", description="On the targets as they are scaled."
    )
    delta: Float = Field(1.0, gt=0, description="Where Huber's loss turns from square to straight.")
    persistence: Int | None = Field(
        None,
        ge=0,
        description="Column of the inputs whose last value is the forecast to beat: gives `skill`.",
    )


class ReconstructionTask(TaskConfig):
    """Inputs from damaged inputs: the targets have the shape of the outputs; model.py."""

    name: Literal["reconstruction"]
    loss: Literal["mse", "mae"] = Field("mse", description="Mean over the values of an example.")
    peak: Float = Field(
        1.0, gt=0, description="Range of the values, for the signal-to-noise ratio."
    )


class SkipGramTask(TaskConfig):
    """Which tokens stand near which, against random ones; model.py."""

    name: Literal["skip_gram"]
    groups: dict[str, list[str]] = Field(
        {}, description="Tokens by kind; gives `neighbors`: share of near ones of one kind."
    )
    nearest: Int = Field(5, ge=1, description="How many nearest neighbors count.")
