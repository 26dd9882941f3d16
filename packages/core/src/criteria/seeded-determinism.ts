import { defineMeasuredCriterion, type FactsOf, fail, type JudgedPart, pass, unmeasured } from "./criterion.js"
import { atLeast } from "./threshold.js"

type Facts = FactsOf<"SeededDeterminismObservation">
type Run = Facts["runs"][number]

const FRESH = "a fresh container"
const SESSION = "another session"
const RESET = "a second reset"

export const seededDeterminism = defineMeasuredCriterion({
  id: "seeded-determinism",
  name: "determinism",
  revision: 1,
  requirement: "The same seed and actions give the same observations, rewards and ends; other seeds give others.",
  upstream: [],
  schema: "SeededDeterminismObservation",
  restsOn: ["observation"],
  thresholds: {
    seeds: atLeast(3, {
      initial: 4,
      unit: "seeds",
      reason: "With one seed an environment that ignores it cannot be told apart.",
    }),
  },
  judge(facts, thresholds, context) {
    const bySeed = groupBySeed(facts.runs)
    const observed = {
      seeds: bySeed.size,
      runs: facts.runs.length,
      steps: facts.runs.reduce((sum, run) => sum + run.steps, 0),
      distinctFirstObservations: new Set(facts.runs.map(run => run.first)).size,
      volatile: facts.volatile,
      declaredNondeterministic: facts.declaredNondeterministic,
    }
    const [problem] = facts.problems
    if (problem !== undefined) return broken(problem, observed)
    if (facts.declaredNondeterministic)
      return fail(
        "the submission declares itself nondeterministic, or its declaration cannot be read",
        "derive everything from the seed given to reset",
        {
          observed,
        },
      )
    if (bySeed.size < thresholds.seeds) return unmeasured(`only ${bySeed.size} seeds were played`, { observed })
    const asked = new Set(context.seeds.slice(0, bySeed.size))
    const foreign = [...bySeed.keys()].find(seed => !asked.has(seed))
    if (foreign !== undefined)
      return fail(`seed ${foreign} is not one that the challenge gives`, "run emit-evidence again", { observed })
    const lacking = [...bySeed].flatMap(([seed, runs]) =>
      lacks(runs).map(what => `seed ${seed} was not repeated in ${what}`),
    )[0]
    if (lacking !== undefined) return unmeasured(lacking, { observed })
    if (facts.runs.some(run => run.steps === 0)) return unmeasured("an episode had no step", { observed })
    const unequal = [...bySeed].find(([, runs]) => new Set(runs.map(run => run.trace)).size > 1)
    if (unequal !== undefined) return differs(unequal[0], facts, observed)
    if (observed.distinctFirstObservations < 2)
      return fail(`${bySeed.size} seeds gave one and the same first observation`, "use the seed given to reset", {
        observed,
      })
    return pass(
      `${bySeed.size} seeds, ${facts.runs.length} episodes: equal for equal seeds, a fresh container included`,
      { observed },
    )
  },
})

function groupBySeed(runs: readonly Run[]): Map<number, Run[]> {
  const groups = new Map<number, Run[]>()
  for (const run of runs) groups.set(run.seed, [...(groups.get(run.seed) ?? []), run])
  return groups
}

function lacks(runs: readonly Run[]): string[] {
  const [base] = runs
  if (base === undefined) return []
  const sameContainer = runs.filter(run => run.container === base.container)
  return [
    ...(runs.length > sameContainer.length ? [] : [FRESH]),
    ...(sameContainer.some(run => run.session !== base.session) ? [] : [SESSION]),
    ...(sameContainer.some(run =>
      sameContainer.some(other => other.session === run.session && other.reset !== run.reset),
    )
      ? []
      : [RESET]),
  ]
}

type Observed = NonNullable<Parameters<typeof pass>[1]>["observed"]

function broken({ code, because }: Facts["problems"][number], observed: Observed & {}) {
  return fail(`an episode could not be played: ${because} (${code})`, REMEDIES[code] ?? ANY_PROBLEM, { observed })
}

function differs(seed: number, facts: Facts, observed: Observed & {}) {
  const parts = firstOfEachField(facts.differences).map(describe)
  const [first] = parts
  return fail(
    first === undefined ? `seed ${seed} gave two different episodes` : first.because,
    "derive everything from the seed given to reset: no global random state, clock or uuid in observations, rewards or ends",
    { observed, parts },
  )
}

const firstOfEachField = (differences: Facts["differences"]): Facts["differences"] =>
  differences.filter(({ pointer }, i) => differences.findIndex(other => other.pointer === pointer) === i)

const describe = ({ seed, frame, pointer, first, second }: Facts["differences"][number]): JudgedPart => ({
  // Episodes of other lengths differ in a whole frame, which no pointer names.
  id: pointer === "" ? "frame" : pointer,
  outcome: "fail",
  because: `seed ${seed}, frame ${frame}: ${pointer} was ${first}, then ${second}`,
  remedy: "derive this field from the seed given to reset",
  where: null,
})

const LOOK = "logs/seeded-determinism.log in the bundle, or --verbose, has what it printed"

const ANY_PROBLEM = `make the container answer OpenEnv's /ws protocol; ${LOOK}`

const REMEDIES: Readonly<Record<string, string>> = {
  "container-does-not-start": `make the container start as it is run here: no network, read-only but for /tmp; ${LOOK}`,
  "container-exited": `make the server stay up as it is run here: no network, read-only but for /tmp; ${LOOK}`,
  "not-ready":
    "let the server listen on the port that openenv.yaml declares (8000 if none), and answer a reset in time",
  "factory-error": `construct the environment without a network and without writing outside /tmp; ${LOOK}`,
  "null-reward": "give a finite number as the reward of each step: NaN and infinity arrive as null",
}
