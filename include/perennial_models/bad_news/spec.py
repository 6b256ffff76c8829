"""All that the platform must know of this model. Light: DAG files import it."""

from perennial.specs import AnswerRule, ComputeSpec, GateSpec, ModelSpec, MonitoringSpec, RequirementSpec, SplitSpec, TrainingSpec

SERVED = RequirementSpec(requirement="R-1: an editor reads fewer remarks for each that is bad news", owner="editors")

MODEL = ModelSpec(
    name="bad_news",
    title="Bad news of customers",
    owner="perennial",
    example=True,
    dataset="remarks",
    task="binary",
    classes=("fine", "bad"),
    label="rating",
    inputs=("remark",),
    split=SplitSpec(test_days=6, validation_days=3),
    compute=ComputeSpec(cpus=1, memory_gb=3),
    training=TrainingSpec(
        max_epochs=12,
        patience=2,
        batch_size=64,
        hyperparameters={"width": 16, "heads": 2, "layers": 1, "dropout": 0.5, "learning_rate": 1.5e-3, "weight_decay": 0.3},
    ),
    # Days differ, with some ten reviews each: saying each class as often as it comes has log loss 0.76 on some of them.
    gate=GateSpec(
        metric="log_loss", floors={"log_loss": 0.7, "roc_auc": 0.65}, requirements={"log_loss": SERVED, "roc_auc": SERVED}, margin=0.2
    ),
    # The mean of the score is a third, as one remark in three is bad; of bad remarks alone it is nearly a half. Whoever sells the products
    # wants to know. The network is small: counting the remarks that it calls bad would miss half of them.
    monitoring=MonitoringSpec(window_days=3, rules=(AnswerRule(name="more bad news", measure="mean", of="bad", above=0.4),)),
)
