"""Learn to read handwritten digits, and watch how fast each learning rate gets there.

sbatch examples/digits.sh     four tasks of an array, one learning rate each
"""

import argparse
import os
import time

from sklearn.datasets import load_digits
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split

import tracker

LEARNING_RATES = (0.0001, 0.001, 0.01, 0.1)


def main() -> None:
    options = parse_options()
    tracker.init(
        experiment="digits",
        params={"lr": options.lr, "epochs": options.epochs, "model": {"kind": "softmax", "seed": 0}},
        tags={"data": "scikit-learn digits"},
    )
    images, labels = load_digits(return_X_y=True)
    train_x, test_x, train_y, test_y = train_test_split(images / 16, labels, random_state=0)
    model = SGDClassifier(loss="log_loss", learning_rate="constant", eta0=options.lr, random_state=0)
    for epoch in range(options.epochs):
        model.partial_fit(train_x, train_y, classes=range(10))
        tracker.log(
            {
                "train/loss": log_loss(train_y, model.predict_proba(train_x)),
                "test/loss": log_loss(test_y, model.predict_proba(test_x)),
                "test/accuracy": model.score(test_x, test_y),
            },
            step=epoch,
        )
        print(f"epoch {epoch}: {model.score(test_x, test_y):.3f} of the test digits read right", flush=True)
        time.sleep(options.pause)


def parse_options() -> argparse.Namespace:
    task = int(os.environ.get("SLURM_ARRAY_TASK_ID", "2"))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lr", type=float, default=LEARNING_RATES[task % len(LEARNING_RATES)])
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--pause", type=float, default=0.1, help="seconds between epochs, to have time to look")
    return parser.parse_args()


if __name__ == "__main__":
    main()
