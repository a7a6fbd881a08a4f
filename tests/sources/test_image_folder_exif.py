"""What `image_folder` says of how a photograph is turned; ops/images.py turns it upright."""

import pytest
import tensorflow as tf
from operations import encoded
from PIL import Image
from pydantic import TypeAdapter

import data_loader
from train_config import DatasetConfig


@pytest.mark.parametrize("orientation", range(1, 9))
def test_image_folder_reads_the_orientation(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    (tmp_path / "a").mkdir()
    photograph = encoded(Image.new("RGB", (48, 32)), "JPEG", exif=exif)
    (tmp_path / "a" / "photograph.jpg").write_bytes(photograph)
    section = {"name": "image_folder", "valid": 0, "test": 0}
    config = TypeAdapter(DatasetConfig).validate_python(section)
    features = data_loader.load(config, "train", str(tmp_path)).read(tf.constant([0], tf.int64))
    assert features["orientation"].numpy().tolist() == [orientation]
