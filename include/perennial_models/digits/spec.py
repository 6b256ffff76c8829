"""All that the platform must know of this model. Light: DAG files import it."""

from perennial.specs import GateSpec, ModelSpec, MonitoringSpec, RequirementSpec, SplitSpec, TrainingSpec

SERVED = RequirementSpec(requirement="R-1: nine of ten digits need no second look", owner="perennial")

MODEL = ModelSpec(
    name="digits",
    title="Handwritten digits",
    owner="perennial",
    dataset="digits",
    task="multiclass",
    classes=("0", "1", "2", "3", "4", "5", "6", "7", "8", "9"),
    label="digit",
    inputs=tuple(f"p{place:02d}" for place in range(64)),
    split=SplitSpec(test_days=3, validation_days=2, min_train_rows=300),
    training=TrainingSpec(
        max_epochs=40, patience=6, batch_size=64, hyperparameters={"channels": 16, "dropout": 0.2, "learning_rate": 2e-3}
    ),
    # Telling nothing apart has log loss 2.30 and accuracy .10; the nearest neighbour reaches accuracy .96 on days like these.
    gate=GateSpec(
        metric="log_loss", floors={"log_loss": 0.5, "accuracy": 0.85}, requirements={"log_loss": SERVED, "accuracy": SERVED}, margin=0.05
    ),
    monitoring=MonitoringSpec(window_days=2, alarm_shift=0.2),
)
