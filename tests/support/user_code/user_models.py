"""A user's own models, as experiments name them: `user_models:FUNCTION`."""


def torch_network(shape, n_classes):
    import math

    from torch import nn

    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 16), nn.ReLU(), nn.Linear(16, n_classes))


def keras_network(shape, n_classes):
    import tensorflow as tf

    layers = tf.keras.layers
    hidden = [layers.Input(shape), layers.Flatten(), layers.Dense(16, "relu"), layers.Dense(n_classes)]
    network = tf.keras.Sequential(hidden)
    loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(tf.keras.optimizers.SGD(0.1, 0.9), loss)
    return network


def pipeline(seed):
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(C=10.0, random_state=seed))


def train(x, y, n_classes, seed):
    from sklearn.naive_bayes import GaussianNB

    model = GaussianNB(var_smoothing=0.01).fit(x.reshape(len(x), -1), y)
    return lambda asked: model.predict_proba(asked.reshape(len(asked), -1))


def predict():
    """A released model of digits: it answers with the mean brightness of a few places."""
    import numpy as np

    def answer(asked):
        scores = asked.reshape(len(asked), -1)[:, :50].reshape(len(asked), 10, 5).sum(axis=2)
        return np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)

    return answer
