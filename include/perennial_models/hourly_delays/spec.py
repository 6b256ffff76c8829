"""All that the platform must know of this model. Light: DAG files import it."""

from perennial.specs import ComputeSpec, GateSpec, ModelSpec, MonitoringSpec, RequirementSpec, SplitSpec, TrainingSpec

SERVED = RequirementSpec(requirement="R-1: nearer than the mean of the hour", owner="departure board")

MODEL = ModelSpec(
    name="hourly_delays",
    title="Delays of the next hour",
    owner="perennial",
    example=True,
    dataset="airport_hours",
    task="regression",
    label="delay",
    learner="boosted",
    inputs=(
        "begins",
        "origin",
        "planned",
        "waiting",
        "recent_delay",
        "yesterday_delay",
        "temp",
        "wind_speed",
        "wind_gust",
        "precip",
        "pressure",
        "visib",
    ),
    slices=("origin", "hour"),
    split=SplitSpec(test_days=14, validation_days=7, train_days=120),
    compute=ComputeSpec(cpus=1, memory_gb=3),
    training=TrainingSpec(hyperparameters={"learning_rate": 0.05, "num_leaves": 15, "min_data_in_leaf": 40}),
    # Saying the mean of all hours has rmse 23.6 over the year, and 13 to 37 on fortnights, as they are calm or stormy.
    gate=GateSpec(metric="rmse", floors={"rmse": 23.6}, requirements={"rmse": SERVED}, margin=0.2),
    monitoring=MonitoringSpec(window_days=3),  # storms cluster by day: in one day alone little can be told
)
