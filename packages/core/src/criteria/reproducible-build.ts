import { explainedCauses } from "../image/difference-remedies.js"
import type { FactsOf } from "./criterion.js"
import {
  contradiction,
  countOf,
  defineMeasuredCriterion,
  fail,
  type JudgedPart,
  pass,
  shortInstruction,
} from "./criterion.js"
import { atLeast } from "./threshold.js"

type Facts = FactsOf<"ReproducibleBuildObservation">
type Difference = Facts["differences"][number]
type Cause = Facts["causes"][number]

export const reproducibleBuild = defineMeasuredCriterion({
  id: "reproducible-build",
  name: "build",
  revision: 1,
  requirement: "Two builds from the same source give an identical digest.",
  upstream: ["static.reproducible_build"],
  schema: "ReproducibleBuildObservation",
  restsOn: ["observation"],
  thresholds: {
    builds: atLeast(2, { unit: "builds", reason: "The RFC asks for two builds." }),
  },
  judge(facts, { builds }, { imageDigest, configDigest, builtFromSubmission }) {
    const digests = facts.builds.map(build => build.manifestDigest)
    const observed = {
      engine: `${facts.engine.name} ${facts.engine.version}`,
      flags: facts.flags,
      network: facts.network,
      digests,
      differences: facts.differences.length + facts.omitted,
      causes: Object.fromEntries(facts.causes.map(({ cause, count }) => [cause, count])),
    }
    if (digests[0] !== imageDigest)
      return fail("the builds compared did not give the judged image", "run emit-evidence again", { observed })
    if (digests.length < builds)
      return fail(`${digests.length} builds were compared, ${builds} are asked`, "run emit-evidence again", {
        observed,
      })
    const impossible = builtFromSubmission
      ? contradictionOf(facts, configDigest)
      : "builds of a submission, of which the image was not built"
    if (impossible !== undefined) return contradiction(impossible, { observed })
    if (new Set(digests).size === 1) return pass(`${digests.length} clean builds gave the same digest`, { observed })
    const parts = [...describeCauses(facts), ...facts.differences.map(describe)]
    return fail(summary(facts), parts[0]?.remedy ?? VARYING, { observed, parts })
  },
})

const VARYING = "remove what differs from run to run (clocks, random names, unpinned downloads)"
// A manifest names its config and layers by digest, and the config its diff_ids: what is equal outside is so inside.
function contradictionOf({ builds, differences, omitted }: Facts, configDigest: string): string | undefined {
  const [first] = builds
  if (first?.configDigest !== configDigest) return "the judged image, but another config than the image's"
  const equal = builds.filter(build => build.manifestDigest === first.manifestDigest)
  const other = equal.find(
    ({ configDigest, diffIds }) => configDigest !== first.configDigest || diffIds.join() !== first.diffIds.join(),
  )
  if (other !== undefined) return "one manifest digest, but different configs or layers"
  if (equal.length === builds.length && (differences.length > 0 || omitted > 0))
    return "one manifest digest, but differences"
  return undefined
}

function summary(facts: Facts): string {
  const causes = facts.causes
    .filter(({ consequence }) => !consequence)
    .map(({ cause, count }) => `${count} by ${cause}`)
  const [first] = facts.differences
  const where = first === undefined ? "" : `; first: ${label(first)}`
  return `two clean builds differ: ${causes.join(", ") || "in their digests"}${where}`
}

// The commonest first: its remedy is the one to begin with.
function describeCauses(facts: Facts): JudgedPart[] {
  const real = facts.causes.filter(({ consequence }) => !consequence)
  const total = real.reduce((sum, { count }) => sum + count, 0)
  return real.map(cause => describeCause(cause, facts, total))
}

function describeCause(cause: Cause, { differences }: Facts, total: number): JudgedPart {
  const { unless, remedy } = explainedCauses[cause.cause]
  const example = differences.find(difference => difference.cause === cause.cause)
  const layers = cause.layers.length === 0 ? "" : ` in ${layersIn(cause.layers)}`
  const would =
    cause.count === total
      ? `the builds would be identical if ${unless}`
      : `${countOf(total - cause.count, "difference")} would be left if ${unless}`
  return {
    id: cause.cause,
    outcome: "fail",
    because: `${cause.count} by ${cause.cause}${layers}: ${would}${example === undefined ? "" : madeBy(example)}`,
    remedy,
    where: null,
  }
}

const layersIn = (layers: readonly number[]) => {
  const shown = layers.slice(0, 8).join(", ")
  return `layer${layers.length === 1 ? "" : "s"} ${shown}${layers.length > 8 ? " and more" : ""}`
}

const madeBy = ({ instruction }: Difference) => (instruction === null ? "" : `, by ${shortInstruction(instruction)}`)

const label = ({ layer, path }: Difference): string =>
  (layer === null ? path : `layer ${layer} ${path}`).trim() || "the manifest"

function describe(difference: Difference): JudgedPart {
  const { cause, layer, path, instruction, consequence } = difference
  const [first, second] = [difference.first, difference.second].map(value => shorten(value) || "nothing")
  const follows = consequence ? ", which follows from the others" : ""
  return {
    id: cause,
    outcome: "fail",
    because: `${label(difference)}: ${cause}, ${first} and then ${second}${madeBy(difference)}${follows}`,
    remedy: consequence ? "" : explainedCauses[cause].remedy,
    where: { layer, path, instruction, line: null },
  }
}

const shorten = (value: string): string => value.replace(/\b([0-9a-f]{12})[0-9a-f]{52}\b/g, "$1…")
