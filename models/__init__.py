"""Networks: one file each, `build(config, spec) -> keras.Model`. No loss, no optimizer, no data."""
