"""What Keras and the random generators keep for a whole process: a run leaves it as it was.

Keras numbers layers that have no name, and checkpoints go by name: a run begins with a session of
its own, and the caller's comes back. The weights of a network follow from generators that belong to
everybody: they are seeded while a network is made, and then have again what they had.
"""

import contextlib
import gc
import random
import threading

import keras
import numpy as np

from engine.variables import keras_session, set_tensorflow_generator, tensorflow_generator

_BUILDING = threading.RLock()  # one network at a time: the generators are the process's


@contextlib.contextmanager
def own_session():
    """Inside `with`, names count from the beginning; then the caller's session is back.

    With it come his dtype policy, his seed and what else Keras keeps for this thread.
    """
    state = keras_session()
    before = dict(state)
    state.clear()
    try:
        yield
    finally:
        state = keras_session()
        state.clear()
        state.update(before)


def begin_session() -> None:
    """Names count from the beginning, in this thread; keras.utils.clear_session: in all of them."""
    keras_session().clear()
    gc.collect()  # earlier networks, which are circles of references


@contextlib.contextmanager
def seeded(seed: int):
    """Inside `with`, all generators start from a seed, for this thread alone."""
    with _BUILDING:
        python = random.getstate()
        numpy = np.random.get_state()
        tensorflow = tensorflow_generator()
        keras.utils.set_random_seed(seed)
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
            set_tensorflow_generator(*tensorflow)
