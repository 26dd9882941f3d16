import type { FactsOf } from "./criterion.js"
import { contradiction, defineMeasuredCriterion, fail, type JudgedPart, pass, shortInstruction } from "./criterion.js"
import { atLeast } from "./threshold.js"

type Facts = FactsOf<"ReproducibleBuildObservation">
type Difference = Facts["differences"][number]

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
  judge(facts, { builds }, { imageDigest, configDigest }) {
    const digests = facts.builds.map(build => build.manifestDigest)
    const observed = {
      engine: `${facts.engine.name} ${facts.engine.version}`,
      flags: facts.flags,
      network: facts.network,
      digests,
      differences: facts.differences.length + facts.omitted,
    }
    if (digests[0] !== imageDigest)
      return fail("the builds compared did not give the judged image", "run emit-evidence again", { observed })
    if (digests.length < builds)
      return fail(`${digests.length} builds were compared, ${builds} are asked`, "run emit-evidence again", {
        observed,
      })
    const impossible = contradictionOf(facts, configDigest)
    if (impossible !== undefined) return contradiction(impossible, { observed })
    if (new Set(digests).size === 1) return pass(`${digests.length} clean builds gave the same digest`, { observed })
    return fail(summary(facts), remedyFor(facts.differences), { observed, parts: facts.differences.map(describe) })
  },
})

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
  const counts = new Map<string, number>()
  for (const { cause } of facts.differences) counts.set(cause, (counts.get(cause) ?? 0) + 1)
  const causes = [...counts].sort((a, b) => b[1] - a[1]).map(([cause, count]) => `${count} by ${cause}`)
  const [first] = facts.differences
  const where = first === undefined ? "" : `; first: ${label(first)}`
  return `two clean builds differ: ${causes.join(", ") || "in their digests"}${facts.omitted > 0 ? ` and ${facts.omitted} more` : ""}${where}`
}

const label = ({ layer, path }: Difference): string => (layer === null ? path : `layer ${layer} ${path}`)

function describe(difference: Difference): JudgedPart {
  const { cause, layer, path, instruction } = difference
  const [first, second] = [difference.first, difference.second].map(value => shorten(value) || "nothing")
  const by = instruction === null ? "" : `, by ${shortInstruction(instruction)}`
  return {
    id: cause,
    outcome: "fail",
    because: `${label(difference)}: ${cause}, ${first} and then ${second}${by}`,
    remedy: remedyFor([difference]),
    where: { layer, path, instruction, line: null },
  }
}

const shorten = (value: string): string => value.replace(/\b([0-9a-f]{12})[0-9a-f]{52}\b/g, "$1…")

function remedyFor(differences: readonly Difference[]): string {
  const paths = differences.map(({ path }) => path)
  // Stages are named by what came before them, so a layer that differs changes these names too.
  const isOnlyConfig = differences.every(({ cause }) => cause === "config")
  if (isOnlyConfig && differences.some(({ path, first }) => path.endsWith("/comment") && first.includes("FROM ")))
    return "the stages before differ, or the base changed between the builds: name it by digest, FROM NAME@sha256:…"
  if (paths.some(path => path.endsWith(".pyc")))
    return "compile Python with `--invalidation-mode unchecked-hash`, or delete __pycache__: a .pyc holds its source's mtime"
  if (paths.some(path => path.includes("ldconfig/aux-cache") || path.startsWith("var/log/")))
    return "delete /var/cache/ldconfig/aux-cache and /var/log files in the instruction that makes them"
  if (differences.some(({ cause }) => cause === "content" || cause.startsWith("only-in")))
    return "remove what differs from run to run (clocks, random names, unpinned downloads) from the instruction named"
  return "build with SOURCE_DATE_EPOCH, and with the engine's switch that rewrites timestamps"
}
