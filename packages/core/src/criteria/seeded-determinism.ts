import {
  contradiction,
  countOf,
  defineMeasuredCriterion,
  type FactsOf,
  fail,
  type JudgedPart,
  pass,
  unmeasured,
} from "./criterion.js"
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
      // Between seeds: what differs within one seed is no answer to another.
      distinctFirstObservations: new Set(Array.from(bySeed.values(), ([run]) => run?.first)).size,
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
    const impossible = contradictionOf(facts)
    if (impossible !== undefined) return contradiction(impossible, { observed })
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
    const short = facts.runs.find(run => !run.done && run.steps < WHOLE_EPISODE_STEPS)
    if (short !== undefined)
      return unmeasured(
        `an episode of seed ${short.seed} stopped after ${countOf(short.steps, "step")}, before its end`,
        {
          observed,
        },
      )
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

/** An episode is played to its end, or for so many steps. */
export const WHOLE_EPISODE_STEPS = 64

// The trace is the digest of all that was compared: what it covers is equal where it is equal.
function contradictionOf({ runs, differences, volatile }: Facts): string | undefined {
  const byTrace = new Map<string, Run>()
  const places = new Set<string>()
  for (const run of runs) {
    const place = `container ${run.container}, session ${run.session}, reset ${run.reset}`
    if (places.has(place)) return `two episodes of ${place}`
    places.add(place)
    const equal = byTrace.get(run.trace) ?? run
    byTrace.set(run.trace, equal)
    if (equal.first !== run.first || equal.steps !== run.steps || equal.done !== run.done)
      return `seeds ${equal.seed} and ${run.seed} have one trace, but different first observations, steps or ends`
  }
  const unfounded = differences.find(difference => !isBetween(difference, runs))
  if (unfounded !== undefined) return `seed ${unfounded.seed} is said to differ, but its traces are equal`
  const compared = volatile.find(pointer => !VOLATILE.test(pointer))
  return compared === undefined ? undefined : `${compared} is said to be left out, but it is compared`
}

const isBetween = ({ seed, runs: [a = -1, b = -1] }: Facts["differences"][number], runs: readonly Run[]): boolean =>
  runs[a]?.seed === seed && runs[b]?.seed === seed && runs[a].trace !== runs[b].trace

// What a comparison of traces leaves out (environment/trace.ts).
const VOLATILE = /^\/data\/(?:metadata|observation\/metadata|episode_id)(?:\/|$)/

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
