"""Compiled Keras models of a user's: layers of every kind, put together in every way."""

import tensorflow as tf
from tensorflow import keras
from tensorflow.keras import layers


def compiled(network, from_logits=True):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits)
    network.compile(keras.optimizers.SGD(0.1, 0.9), loss)
    return network


def sequential(shape, n):
    hidden = layers.Dense(16, "tanh", kernel_regularizer=keras.regularizers.L2(1e-3), name="tanh")
    return compiled(keras.Sequential([layers.Input(shape), layers.Flatten(), hidden, layers.Dense(n)]))


def functional(shape, n):
    """Normalised over the batch, with random numbers of its own; activations as names and layers, a skip, a softmax."""
    inputs = layers.Input(shape)
    x = layers.Dense(16, kernel_regularizer=keras.regularizers.L2(1e-3), name="linear")(layers.Flatten()(inputs))
    x = layers.Activation("relu", name="named")(layers.BatchNormalization(momentum=0.9)(x))
    x = layers.Add()([x, layers.LeakyReLU(name="layer")(layers.Dense(16)(layers.Dropout(0.1)(x)))])
    return compiled(keras.Model(inputs, layers.Dense(n, "softmax", name="answer")(x)), from_logits=False)


class Own(keras.Model):
    """Layers in a list, one used twice; an activation that is a layer; a softmax of its own making."""

    def __init__(self, n):
        super().__init__()
        self.blocks = [layers.Dense(16, "relu", name="first"), layers.Dense(16, layers.ReLU(name="inner"))]
        self.twice = layers.Dense(16, tf.nn.elu, name="twice")
        self.spare = layers.Dense(16, "relu", name="unused")
        self.out = layers.Dense(n, lambda z: tf.exp(z) / tf.reduce_sum(tf.exp(z), 1, keepdims=True), name="answer")

    def call(self, x):
        x = tf.reshape(x, (-1, 64))
        for block in self.blocks:
            x = block(x)
        return self.out(self.twice(self.twice(x)))


def subclassed(shape, n):
    return compiled(Own(n), from_logits=False)


def log_probabilities(shape, n):
    """As many units before the answer as in it."""
    hidden = layers.Dense(n, "relu", name="hidden")
    return compiled(
        keras.Sequential(
            [layers.Input(shape), layers.Flatten(), hidden, layers.Dense(n, tf.nn.log_softmax, name="answer")]
        )
    )


def recurrent(shape, n):
    stack = [layers.SimpleRNN(8), layers.Dense(8, "softmax", name="attention"), layers.Dense(8, "relu", name="relu")]
    return compiled(keras.Sequential([layers.Input(shape), *stack, layers.Dense(n)]))


def only_functions(shape, n):
    inputs = layers.Input(shape)
    hidden = tf.nn.relu(layers.Dense(16)(layers.Flatten()(inputs)))
    return compiled(keras.Model(inputs, layers.Dense(n)(hidden)))


def float64(shape, n):
    hidden = layers.Dense(16, "relu", kernel_regularizer=keras.regularizers.L2(1e-3), dtype="float64")
    return compiled(keras.Sequential([layers.Input(shape), layers.Flatten(), hidden, layers.Dense(n, dtype="float64")]))
