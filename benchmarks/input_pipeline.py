"""Images a second of the input pipeline, beside the usual ones and beside what decoding alone
allows.

python benchmarks/input_pipeline.py [ROUNDS] [IMAGES]

It makes JPEGs of 64, 160 and 256 pixels (smooth colors and noise, quality 90), as files in ten
directories and as
records, and reads batches of 128, decoded, cut to 7/8 of their side at a fixed place, as float32.
Rows are measured in turn,
round by round; ratios are medians over the rounds.
  limit   the same decoding and cutting of the same bytes in memory, on all cores, no pipeline
  around it
  usual   TFRecordDataset.shuffle(2048).map(parse, decode, cut).batch.prefetch, as the guides have
  it
  keras   keras.utils.image_dataset_from_directory, which decodes and resizes
Then: a mix of three sets, a start at step 1,000,000,000, resident memory of 5,000 and of 50,000
images, and storage where
each read takes 5 ms.
"""

import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import keras
import numpy as np
import tensorflow as tf

import data_config
import data_loader
import input_ops
import preprocess_data
from engine import record_files as records
from train_config import Order

BATCH = 128
SIZES = (64, 160, 256)


def make(directory: Path, side: int, count: int) -> None:
    """JPEG files in ten directories; 256 different pictures under `count` names."""
    rng = np.random.default_rng(side)
    pictures = []
    for _ in range(256):
        smooth = tf.image.resize(rng.uniform(0, 255, (8, 8, 3)), (side, side), "bicubic").numpy()
        noisy = np.clip(smooth + rng.normal(0, 8, smooth.shape), 0, 255).astype(np.uint8)
        pictures.append(tf.io.encode_jpeg(noisy, quality=90).numpy())
    for number in range(count):
        folder = directory / "train" / f"class {number % 10}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:06}.jpg").write_bytes(
            pictures[number % len(pictures)] + b"%d" % number
        )  # no two files alike
    rows = [f"{number:06},class {number % 10}" for number in range(count)]
    (directory / "labels.csv").write_text("\n".join(["id,label", *rows]))


def by_table() -> data_config.ImageTable:
    return data_config.ImageTable(
        name="image_table", file="labels.csv", image="id", target=["label"], valid=0, test=0
    )


def prepare(directory: Path, out: Path) -> None:
    config = data_config.ImageFolder(name="image_folder", dir=str(directory))
    preprocess_data.write(config, out, per_shard=512, compress=False, workers=0)


def ops_for(side: int) -> list:
    cut = data_config.CenterCrop(name="center_crop", size=(side * 7 // 8, side * 7 // 8))
    return [data_config.DecodeImage(name="decode_image"), cut, data_config.Scale(name="scale")]


def ours(config, directory: Path, side: int, start: int = 0):
    source = data_loader.load(config, "train", str(directory))
    return iter(input_ops.train_batches(input_ops.Mix.of(source, ops_for(side)), BATCH, 0, start))


def mix_of_three(directory: Path, side: int):
    source = data_loader.load(data_config.Records(name="records"), "train", str(directory))
    parts = [
        input_ops.MixSource(f"set {number}", source, ops_for(side), slots)
        for number, slots in enumerate((5, 3, 2))
    ]
    return iter(input_ops.train_batches(input_ops.Mix(parts), BATCH, 0))


def of_others(folder: Path):
    """The same shards without manifest and index of ours, found and indexed as those of others."""
    return data_config.Tfrecord(
        name="tfrecord",
        files={"train": "train-*.tfrecord"},
        inputs="inputs",
        targets="targets",
        valid=0,
        index=str(folder / "indexes"),
    )


def usual(directory: Path, side: int):
    cut, begin = side * 7 // 8, (side - side * 7 // 8) // 2
    layout = {
        "inputs": tf.io.FixedLenFeature([], tf.string),
        "targets": tf.io.FixedLenFeature([], tf.int64),
    }

    def example(record):
        parsed = tf.io.parse_single_example(record, layout)
        image = tf.io.decode_jpeg(parsed["inputs"], channels=3)[
            begin : begin + cut, begin : begin + cut
        ]
        return tf.ensure_shape(tf.cast(image, tf.float32) / 255.0, [cut, cut, 3]), parsed["targets"]

    files = sorted(map(str, directory.glob("train-*.tfrecord")))
    dataset = (
        tf.data.TFRecordDataset(files)
        .repeat()
        .shuffle(2048)
        .map(example, num_parallel_calls=tf.data.AUTOTUNE)
    )
    return iter(dataset.batch(BATCH).prefetch(tf.data.AUTOTUNE))


def keras_folder(directory: Path, side: int):
    cut = side * 7 // 8
    dataset = keras.utils.image_dataset_from_directory(
        directory / "train", batch_size=BATCH, image_size=(cut, cut), verbose=False
    )
    return iter(dataset.repeat().prefetch(tf.data.AUTOTUNE))


def limit(directory: Path, side: int):
    """Calls of one compiled function, a thread a core, each over a batch of bytes in memory."""
    source = data_loader.load(data_config.Records(name="records"), "train", str(directory))
    encoded = source.read(tf.range(min(len(source), 1024), dtype=tf.int64))["inputs"]
    cut, begin = side * 7 // 8, (side - side * 7 // 8) // 2

    def picture(data):
        return tf.io.decode_jpeg(data, channels=3)[begin : begin + cut, begin : begin + cut]

    @tf.function
    def batch(data):
        images = tf.map_fn(
            picture,
            data,
            fn_output_signature=tf.TensorSpec([cut, cut, 3], tf.uint8),
            parallel_iterations=1,
        )
        return (tf.cast(images, tf.float32) / 255.0)[
            :, 0, 0, 0
        ]  # the batch itself would only fill the memory

    pool, starts = ThreadPoolExecutor(os.cpu_count()), range(0, len(encoded), BATCH)
    pieces = [encoded[start : start + BATCH] for start in starts if start + BATCH <= len(encoded)]
    return lambda batches: list(
        pool.map(batch, [pieces[number % len(pieces)] for number in range(batches)])
    )


def draw(iterator):
    def batches(count: int) -> None:
        for _ in range(count):
            next(iterator)

    return batches


def measure(rows: dict, rounds: int, batches: int) -> dict[str, list[float]]:
    """{row: images a second in each round}, over seconds, so that what lay ready hardly counts.

    The first round warms up.
    """
    speeds: dict[str, list[float]] = {name: [] for name in rows}
    for number in range(rounds + 1):
        turn = number % len(
            rows
        )  # whoever follows `limit` finds a machine at rest: each row in its turn
        for name, row in [*list(rows.items())[turn:], *list(rows.items())[:turn]]:
            row(batches // 5)  # what was fetched ahead while the others ran
            begin = time.perf_counter()
            row(batches)
            if number:
                speeds[name].append(batches * BATCH / (time.perf_counter() - begin))
            time.sleep(0.5)  # this row's pipeline fills its buffers, not in the next row's time
    return speeds


def ratio(speeds: dict, over: str, under: str) -> float:
    return statistics.median(a / b for a, b in zip(speeds[over], speeds[under], strict=True))


def compare(folder: Path, rounds: int, count: int) -> None:
    for side in SIZES:
        raw, packed = folder / f"raw {side}", folder / f"records {side}"
        make(raw, side, count)
        prepare(raw, packed)
        rows = {
            "limit": limit(packed, side),
            "ours, records": draw(ours(data_config.Records(name="records"), packed, side)),
            "ours, records, mix of three": draw(mix_of_three(packed, side)),
            "ours, records, from step 10^9": draw(
                ours(data_config.Records(name="records"), packed, side, 1_000_000_000)
            ),
            "ours, tfrecord of others": draw(ours(of_others(folder), packed, side)),
            "ours, image_folder": draw(
                ours(data_config.ImageFolder(name="image_folder"), raw, side)
            ),
            "ours, image_table": draw(ours(by_table(), raw, side)),
            "usual": draw(usual(packed, side)),
            "keras": draw(keras_folder(raw, side)),
        }
        speeds = measure(rows, rounds, batches=400 * 64**2 // side**2 + 40)
        for name, values in speeds.items():
            beside = "  ".join(
                f"x {other} {ratio(speeds, name, other):5.2f}"
                for other in ("limit", "usual", "keras")
            )
            print(
                f"{side:>4} px  {name:<30} {statistics.median(values):>9,.0f} images/s   {beside}",
                flush=True,
            )
        others = ratio(speeds, "ours, tfrecord of others", "ours, records")
        print(f"{side:>4} px  a foreign set reaches {others:.2f} of our own records", flush=True)
        print(
            f"{side:>4} px  a table costs "
            f"{1 - ratio(speeds, 'ours, image_table', 'ours, image_folder'):.1%}",
            flush=True,
        )
        print(
            f"{side:>4} px  a mix of three costs "
            f"{1 - ratio(speeds, 'ours, records, mix of three', 'ours, records'):.1%}",
            flush=True,
        )


def first_batch(folder: Path) -> None:
    config, directory = data_config.Records(name="records"), folder / "records 64"
    seconds = {0: [], 1_000_000_000: []}
    for _ in range(5):
        for start, found in seconds.items():
            begin = time.perf_counter()
            next(ours(config, directory, 64, start))
            found.append(time.perf_counter() - begin)
    for start, found in seconds.items():
        print(f"first batch of step {start:>13,}: {statistics.median(found):.2f} s", flush=True)


def memory(folder: Path) -> None:
    """Resident memory after 200 batches, in a process of its own for each size of set."""
    for kind in ("records", "image_folder"):
        for count in (5_000, 50_000):
            raw, packed = folder / f"raw of {count}", folder / f"records of {count}"
            if not raw.exists():
                make(raw, 64, count)
                prepare(raw, packed)
            words = [
                sys.executable,
                __file__,
                "--memory",
                kind,
                str(packed if kind == "records" else raw),
            ]
            done = subprocess.run(words, capture_output=True, text=True, check=True)
            print(
                f"resident memory, {kind}, {count:>6,} images: {done.stdout.strip()} MiB",
                flush=True,
            )


def memory_of(kind: str, directory: str) -> None:
    config = (
        data_config.Records(name="records")
        if kind == "records"
        else data_config.ImageFolder(name="image_folder")
    )
    draw(ours(config, Path(directory), 64))(200)
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    print(round(pages * os.sysconf("SC_PAGE_SIZE") / 2**20))


def slow_storage(folder: Path) -> None:
    """Every read takes 5 ms longer, as of a remote store that answers 200 reads a second."""
    read, config, directory = (
        records.File.read,
        data_config.Records(name="records"),
        folder / "records 64",
    )

    def slowly(self, length=-1, offset=0):
        with guard:
            time.sleep(0.005)
        return read(self, length, offset)

    guard = records.threading.Lock()
    records.File.read = slowly
    try:
        for name, blocks in (("any example at a time", 0), ("data.order: {blocks: 4}", 4)):
            source = data_loader.load(config, "train", str(directory))
            if blocks:
                source = data_loader.Source(
                    **{**vars(source), "read": source.read_in_blocks(2 * blocks)}
                )
            batches = draw(
                iter(
                    input_ops.train_batches(
                        input_ops.Mix.of(source, ops_for(64)),
                        BATCH,
                        0,
                        order=Order(blocks=blocks or None),
                    )
                )
            )
            batches(2)
            begin = time.perf_counter()
            batches(24)
            print(
                f"storage of 200 reads/s, {name:<24} "
                f"{24 * BATCH / (time.perf_counter() - begin):>9,.0f} images/s",
                flush=True,
            )
    finally:
        records.File.read = read


def main(rounds: int, count: int) -> None:
    print(
        f"JPEG, batches of {BATCH}, {os.cpu_count()} CPUs, "
        f"medians of {rounds} rounds over {count:,} images"
    )
    with tempfile.TemporaryDirectory() as directory:
        folder = Path(directory)
        compare(folder, rounds, count)
        first_batch(folder)
        slow_storage(folder)
        memory(folder)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--memory"]:
        memory_of(*sys.argv[2:4])
    else:
        main(
            *(int(word) for word in [*sys.argv[1:], 7, 8192][:2])
            if len(sys.argv) < 3
            else map(int, sys.argv[1:3])
        )
