"""What a training used: seconds, memory, energy and money, and a budget that ends it."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from perennial.errors import SettingMissing, TrainingRefused
from perennial.lineage.making import Making, making, note_making
from perennial.lineage.usage import Meter, Usage
from perennial.prices import Prices
from perennial.settings import Settings
from perennial.specs import ComputeSpec, TrainingBudget
from perennial.store import FolderStore

PRICES = Prices(currency="EUR", cpu_hour=0.1, gpu_hour=2, gb_hour=0.01)


def test_seconds_and_memory_are_measured() -> None:
    """OP-06, MO-23: Work shows as CPU seconds, parts as their own seconds, GPUs count while it trains alone; no price, no money."""
    meter = Meter(ComputeSpec(cpus=1, gpus=2, nodes=3))
    with meter.part("read"):
        sum(range(2_000_000))
    with meter.part("read"):
        pass
    meter.add({"batches": 1.0, "steps": 3.0, "validation": 0.5, "checkpoints": 0.5})
    usage = meter.usage()
    other = Meter(ComputeSpec(gpus=1))
    with meter.learning(), other.learning():
        meter.add({"steps": 4.0})
    assert ("train" in meter.usage().parts, other.usage().gpu_seconds) == (False, other.usage().parts["train"])
    assert 0 < usage.parts["read"] <= usage.wall_seconds
    assert usage.cpu_seconds > 0
    assert usage.gpu_seconds == 5.0 * 2 * 3
    assert 0.01 < usage.memory_gb < 100
    assert usage.money is None
    assert "money" not in " ".join(usage.figures())
    assert usage.figures()["used_steps_s"] == 3.0


def test_money_and_energy_are_reckoned() -> None:
    """OP-06: Money is hours x what is reserved x its price, on every node; energy is seconds of work x watts."""
    hour = PRICES.money(hours=1, cpus=4, gpus=2, memory_gb=16)
    assert hour == pytest.approx(4 * 0.1 + 2 * 2 + 16 * 0.01)
    assert Meter(ComputeSpec(cpus=4, gpus=2, memory_gb=16, nodes=3), PRICES).money(1800) == pytest.approx(hour * 1.5)
    watts = Prices(watts_cpu=10, watts_gpu=300, watts_gb=0.5)
    assert watts.watt_hours(cpu_seconds=3600, gpu_seconds=7200, gb_seconds=3600 * 8) == pytest.approx(10 + 600 + 4)
    assert not watts.is_set
    usage = Meter(ComputeSpec(), PRICES).usage()
    assert usage.currency == "EUR"
    assert usage.figures()["used_money"] == usage.money
    assert "EUR" in usage.sentence


def test_a_sentence_says_what_was_used() -> None:
    """OP-06: GPUs only where there are some."""
    usage = Usage(
        wall_seconds=90, cpu_seconds=170, gpu_seconds=60, memory_gb=1.5, gpu_memory_gb=2, energy_wh=6.8, money=0.02, currency="EUR"
    )
    assert usage.sentence == (
        "It took 90.0 s: 170.0 CPU seconds, 60 GPU seconds (2.00 GB), 1.50 GB of memory at most, about 6.8 Wh, 0.02 EUR."
    )
    assert "GPU" not in usage.model_copy(update={"gpu_seconds": 0.0}).sentence
    assert usage.model_copy(update={"parts": {"read": 1.0, "steps": 80.04}}).profile == "read 1.0 s, steps 80.0 s"


@pytest.mark.parametrize(
    ("budget", "seconds", "words"),
    [
        (TrainingBudget(minutes=2), 121, r"taken 2\.02 minutes, and its budget is 2 \(training\.budget\.minutes\)"),
        (TrainingBudget(minutes=9, money=0.5), 3600, r"taken 60 minutes, and its budget is 9 \(training\.budget\.minutes\)"),
        (TrainingBudget(money=0.2), 3600, r"taken 0\.24 EUR, and its budget is 0\.2 \(training\.budget\.money\)"),
    ],
)
def test_a_budget_ends_a_training(budget: TrainingBudget, seconds: float, words: str) -> None:
    """MO-23: With what was used, where it ended and how it goes on; below it nothing happens."""
    spent = Meter(ComputeSpec(cpus=2, memory_gb=4), PRICES).within(budget, "churn")
    with pytest.raises(TrainingRefused, match=words + r"; it is ended after epoch 3 of at most 9\. It goes on from there when you raise"):
        spent(seconds, 3, 9)
    with pytest.raises(TrainingRefused, match=r"before its first epoch was done\. It begins anew"):
        spent(seconds, 0, 9)
    with pytest.raises(TrainingRefused, match=r"after epoch 3 of at most 9\. It begins anew"):
        Meter(ComputeSpec(cpus=2, memory_gb=4), PRICES).within(budget, "churn", resumes=False)(seconds, 3, 9)
    spent(100, 3, 9)
    Meter(ComputeSpec(), PRICES).within(TrainingBudget(), "churn")(1e9, 1, 2)


def test_a_budget_of_money_needs_prices() -> None:
    """MO-23: It is said before anything is trained."""
    with pytest.raises(SettingMissing, match=r"churn has a budget of money .* set PERENNIAL_PRICES, or take a budget of minutes"):
        Meter(ComputeSpec()).within(TrainingBudget(money=1), "churn")
    with pytest.raises(ValidationError):
        TrainingBudget(minutes=0)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("0.04", "PERENNIAL_PRICES is '0.04'"),
        ('{"cpu": 1}', "cpu: Extra inputs are not permitted; it is a JSON object of currency, cpu_hour"),
        ('{"cpu_hour": -1}', "cpu_hour: Input should be greater than or equal to 0"),
    ],
)
def test_a_wrong_price_table_is_a_sentence(text: str, words: str) -> None:
    """OP-06: With the names that it may have."""
    with pytest.raises(SettingMissing, match=words):
        Settings.from_environment({"PERENNIAL_PRICES": text})


def test_the_price_table_reaches_the_stages() -> None:
    """OP-06: As every setting does, by the environment."""
    settings = Settings.from_environment({"PERENNIAL_PRICES": PRICES.model_dump_json()})
    assert Prices.read(Settings.from_environment(settings.environment()).prices) == PRICES


def test_usage_is_kept_with_how_a_version_was_made(tmp_path: object) -> None:
    """OP-06: And a note from before it was kept still opens."""
    store, usage = FolderStore(str(tmp_path)), Meter(ComputeSpec(), PRICES).usage()
    note_making(store, "digits", "a" * 64, seconds=2.0, usage=usage)
    made = making(store, "digits", "a" * 64)
    assert made is not None
    assert made.usage == usage
    store.write(f"models/digits/made/{'b' * 64}.json", made.model_dump_json(exclude={"usage"}).encode())
    assert making(store, "digits", "b" * 64) == Making.model_validate(made.model_dump() | {"usage": None})
