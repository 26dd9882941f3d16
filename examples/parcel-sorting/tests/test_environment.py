"""Run by hand, from the environment's folder: `python -m pytest`."""

import random

from models import ParcelSortingAction
from server.parcel_sorting_environment import ParcelSortingEnvironment, deal

BINS = ("north", "east", "south", "west")


def play(environment, seed, choose):
    seen = [environment.reset(seed=seed)]
    while not seen[-1].done:
        seen.append(environment.step(ParcelSortingAction(bin=choose())))
    return seen


def total(seen):
    return sum(observation.reward or 0.0 for observation in seen)


def test_the_rule_earns_everything():
    for seed in range(50):
        bins = iter([parcel.bin for parcel in deal(random.Random(seed))])
        assert total(play(ParcelSortingEnvironment(), seed, lambda: next(bins))) == 1.0


def test_chance_and_one_bin_earn_a_quarter():
    rng = random.Random(1)
    policies = [lambda: rng.choice(BINS), *(lambda bin=bin: bin for bin in BINS)]
    for choose in policies:
        mean = sum(total(play(ParcelSortingEnvironment(), seed, choose)) for seed in range(2000)) / 2000
        assert abs(mean - 0.25) < 0.02


def test_a_seed_gives_one_shift_in_any_session_and_again():
    environment = ParcelSortingEnvironment()
    first = play(environment, 7, lambda: "north")
    assert play(environment, 7, lambda: "north") == first
    assert play(ParcelSortingEnvironment(), 7, lambda: "north") == first
    assert play(environment, 8, lambda: "north") != first


def test_nothing_is_earned_after_the_end():
    environment = ParcelSortingEnvironment()
    last = play(environment, 7, lambda: "north")[-1]
    after = environment.step(ParcelSortingAction(bin="north"))
    assert (after.reward, after.done, after.remaining) == (0.0, True, last.remaining)
