import type { ResourceFacts } from "../submission/declaration.js"
import { defineStaticCriterion, fail, type JudgedPart, pass } from "./criterion.js"
import { atMost } from "./threshold.js"

type Name = keyof ResourceFacts["declared"]
const REQUIRED: readonly Name[] = ["cpu", "memory_mb", "disk_mb"]
const UNITS: Readonly<Record<Name, string>> = {
  cpu: "cores",
  memory_mb: "MB",
  disk_mb: "MB",
  episode_timeout_s: "seconds",
  gpus: "GPUs",
}

const sanity = (limit: number, unit: string) =>
  atMost(limit, {
    unit,
    reason: "The RFC asks for sanity bounds and gives no number; ours is what one large node offers.",
  })

export const resourceDeclarations = defineStaticCriterion({
  id: "resource-declarations",
  name: "resources",
  revision: 1,
  requirement: "The submission declares a CPU, memory and storage budget within sanity bounds.",
  upstream: ["static.resource_declaration", "semantic.resource_envelope", "static.timeout_ceiling"],
  schema: "ResourceDeclarationsObservation",
  restsOn: ["submission-texts"],
  thresholds: {
    cpu: sanity(64, UNITS.cpu),
    memory_mb: sanity(262_144, UNITS.memory_mb),
    disk_mb: sanity(1_048_576, UNITS.disk_mb),
    episode_timeout_s: atMost(3600, {
      unit: UNITS.episode_timeout_s,
      reason: "OpenEnv's own bound, max_episode_timeout_s of its validation policy.",
    }),
    gpus: sanity(16, UNITS.gpus),
  },
  inspect: ({ declaration }) => declaration.resources,
  judge(facts, thresholds) {
    const limits: Readonly<Record<Name, number>> = thresholds
    const declared = Object.fromEntries(Object.entries(facts.declared).map(([name, { value }]) => [name, value]))
    const part = (name: string, because: string, line: number | null) =>
      describe(name, because, facts.file, line, limits)
    const named = facts.problems.map(({ because }) => /^`(\w+)` is/.exec(because)?.[1])
    const undeclared = REQUIRED.filter(name => facts.declared[name] === undefined && !named.includes(name))
    const parts = [
      ...facts.problems.map(({ line, because }, i) => part(named[i] ?? "declaration", because, line)),
      // Where the whole block is missing, that is the problem.
      ...(facts.line === null && facts.problems.length > 0 ? [] : undeclared).map(name =>
        part(name, `\`${name}\` is not declared`, facts.line),
      ),
      ...Object.entries(facts.declared).flatMap(([name, { value, line }]) =>
        outOfBounds(name as Name, value, limits[name as Name]).map(because => part(name, because, line)),
      ),
    ]
    const [first] = parts
    if (facts.file === null)
      return fail("there is no openenv.yaml", "add openenv.yaml with a `validation: resources:` block")
    if (first === undefined)
      return pass(`${Object.keys(declared).length} budgets declared, all in bounds`, { observed: declared })
    return fail(
      parts.map(({ because }) => because).join("; "),
      "declare cpu, memory_mb and disk_mb under `validation: resources:` as numbers in bounds",
      { observed: declared, parts },
    )
  },
})

function outOfBounds(name: Name, value: number, limit: number): string[] {
  const least = name === "gpus" ? value >= 0 : value > 0
  if (!least) return [`\`${name}: ${value}\` is not a budget`]
  return value <= limit ? [] : [`\`${name}: ${value}\` is more than ${limit}`]
}

function describe(
  id: string,
  because: string,
  path: string | null,
  line: number | null,
  limits: Readonly<Record<Name, number>>,
): JudgedPart {
  const location = line === null ? (path ?? "") : `${path} line ${line}`
  const where = { layer: null, path, instruction: null, line }
  return { id, outcome: "fail", because: `${because} (${location})`, remedy: remedyFor(id, limits), where }
}

function remedyFor(id: string, limits: Readonly<Record<Name, number>>): string {
  if (!Object.hasOwn(UNITS, id))
    return "declare numbers for cpu (cores), memory_mb and disk_mb under `validation: resources:`"
  const name = id as Name
  return `set \`${name}\` under \`validation: resources:\` to a number of ${UNITS[name]}, at most ${limits[name]}`
}
