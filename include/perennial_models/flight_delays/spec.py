"""All that the platform must know of this model. Light: DAG files import it."""

from perennial.specs import (
    ComputeSpec,
    GateSpec,
    LimitSpec,
    ModelSpec,
    MonitoringSpec,
    RequirementSpec,
    ServingSpec,
    SplitSpec,
    TrainingSpec,
)

BETTER_THAN_CHANCE = RequirementSpec(requirement="R-1: says more than the share of late flights does", owner="departure board")
SHARES_COME_TRUE = RequirementSpec(requirement="R-2: of flights at 30 % about 30 % are late", owner="departure board")

MODEL = ModelSpec(
    name="flight_delays",
    title="Late arrivals",
    owner="perennial",
    dataset="flights",
    task="binary",
    classes=("on_time", "late"),
    label="arr_delay",
    inputs=(
        "scheduled_departure",
        "scheduled_minutes",
        "carrier",
        "origin",
        "dest",
        "distance",
        "temp",
        "dewp",
        "humid",
        "wind_dir",
        "wind_speed",
        "wind_gust",
        "precip",
        "pressure",
        "visib",
        "plane_year",
        "manufacturer",
        "engines",
        "seats",
    ),
    slices=("carrier", "origin", "month"),
    split=SplitSpec(test_days=14, validation_days=7, train_days=90),  # days differ so much that a week cannot tell two versions apart
    compute=ComputeSpec(cpus=1, memory_gb=3),  # the network is so small that a second thread waits more than it works
    training=TrainingSpec(
        max_epochs=60,
        patience=4,
        batch_size=1024,
        hyperparameters={
            "members": 8,
            "hidden": 64,
            "layers": 2,
            "embedding": 8,
            "dropout": 0.3,
            "input_dropout": 0.1,
            "learning_rate": 1e-3,
            "weight_decay": 0.05,
        },
    ),
    gate=GateSpec(
        metric="log_loss",
        floors={"log_loss": 0.75, "roc_auc": 0.58, "calibration_error": 0.25},
        requirements={"log_loss": BETTER_THAN_CHANCE, "roc_auc": BETTER_THAN_CHANCE, "calibration_error": SHARES_COME_TRUE},
    ),
    serving=ServingSpec(
        limits={
            "p95_ms": LimitSpec(at_most=100, requirement="R-3: the board shows a flight within 0.2 s", owner="departure board"),
            "memory_mb": LimitSpec(at_most=600, requirement="R-4: three versions run beside each other in 2 GB", owner="perennial"),
            "folder_mb": LimitSpec(at_most=20, requirement="R-5: a version is fetched in a second", owner="perennial"),
        }
    ),
    monitoring=MonitoringSpec(window_days=3),  # weather clusters by day: in one day alone little can be told
)
