"""Operations on batches of examples, a family a file; `preprocess_data.py` says what one is."""
