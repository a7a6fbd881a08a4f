"""Operations on batches of examples, a family a file."""
