import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  LineCounter,
  type Pair,
  parseDocument as parseYaml,
  Scalar,
  visit,
  type YAMLMap,
} from "yaml"
import { limits } from "../limits.js"
import type { ResourceDeclarationsObservation, SubmissionDocument } from "../schema/documents.generated.js"

export type ResourceFacts = ResourceDeclarationsObservation["facts"]
type ResourceName = keyof ResourceFacts["declared"]

/** Where OpenEnv declares an environment; a submission of kind `image` uses the same block in a file of ours. */
export const declarationFiles: readonly string[] = ["openenv.yaml", "envidence.yaml"]

const RESOURCES: readonly ResourceName[] = ["cpu", "memory_mb", "disk_mb", "episode_timeout_s", "gpus"]

/** What the submission's declaration says, read from the text that hashes to the submission's digest. */
export interface Declaration {
  readonly file: string | null
  readonly name: string | null
  readonly version: string | null
  readonly resources: ResourceFacts
  /** Budgets that the file may well declare, but not so that they can be read: nothing may be concluded of them. */
  readonly unread: ReadonlySet<string>
  readonly declaresNondeterminism: boolean
  readonly port: number | null
  readonly dockerfile: string | null
}

const NOTHING: Declaration = {
  file: null,
  name: null,
  version: null,
  resources: { file: null, line: null, declared: {}, problems: [] },
  unread: new Set(),
  declaresNondeterminism: false,
  port: null,
  dockerfile: null,
}

/** Reads openenv.yaml in any of its three published shapes. Never throws: what cannot be read is a problem listed. */
export function readDeclaration(texts: SubmissionDocument["texts"]): Declaration {
  const source = declarationFiles.flatMap(path => texts.filter(text => text.path === path))[0]
  if (source === undefined) return NOTHING
  const lines = new LineCounter()
  // Its own check of unique keys is quadratic; ambiguity() does it.
  const document = parseYaml(source.text.slice(0, limits.sourceTextBytes), { lineCounter: lines, uniqueKeys: false })
  const problem = whyUnreadable(document, source.path, lines)
  if (problem !== undefined || !isMap(document.contents)) {
    const problems = [problem ?? { line: null, because: `${source.path} is not a YAML mapping` }]
    return {
      ...NOTHING,
      file: source.path,
      unread: new Set(RESOURCES),
      // What cannot be read may declare it.
      declaresNondeterminism: true,
      resources: { ...NOTHING.resources, file: source.path, problems },
    }
  }
  const root = document.contents
  const validation = mapOf(root, "validation")
  const reward = validation && mapOf(validation, "reward")
  const execution = validation && mapOf(validation, "execution")
  return {
    file: source.path,
    name: textOf(root, "name"),
    version: textOf(root, "version"),
    resources: readResources(source.path, root, validation, lines),
    unread: unreadResources(root),
    // OpenEnv's way to say that rewards vary under one seed. Whatever stands there is one, but for a plain 0.
    declaresNondeterminism:
      reward?.has("variance_tolerance") === true && plainNumber(reward, "variance_tolerance") !== 0,
    port: numberOf(root, "port"),
    dockerfile: textOf(execution, "dockerfile"),
  }
}

type Problem = ResourceFacts["problems"][number]

/**
 * Why two YAML parsers could read the document differently: errors, keys given twice, and what YAML 1.1 and 1.2 or
 * merging and non-merging parsers disagree about. The environment's own parser is not ours.
 */
function whyUnreadable(document: Document, path: string, lines: LineCounter): Problem | undefined {
  const [error] = document.errors
  const lineAt = (offset: number | undefined) => (offset === undefined ? null : lines.linePos(offset).line)
  if (error !== undefined)
    return { line: error.linePos?.[0].line ?? null, because: `${path} is not valid YAML (${error.code})` }
  let problem: Problem | undefined
  visit(document, (_, node) => {
    const because = ambiguity(node)
    if (because === undefined) return undefined
    const range = isAlias(node) || isMap(node) ? node.range : undefined
    problem = { line: lineAt(range?.[0]), because: `${path} ${because}` }
    return visit.BREAK
  })
  return problem
}

function ambiguity(node: unknown): string | undefined {
  if (isAlias(node)) return "uses a YAML alias"
  if (!isMap(node)) return undefined
  const keys = node.items.map(keyOf)
  if (keys.includes(undefined)) return "has a key that is no plain text"
  if (keys.includes("<<")) return "uses a YAML merge key"
  return new Set(keys).size === keys.length ? undefined : "gives a key twice"
}

const keyOf = ({ key }: Pair): string | undefined =>
  isScalar(key) && ["string", "number", "boolean"].includes(typeof key.value) ? String(key.value) : undefined

function readResources(
  file: string,
  root: YAMLMap,
  validation: YAMLMap | undefined,
  lines: LineCounter,
): ResourceFacts {
  const lineOf = (key: unknown): number | null => {
    const range = isScalar(key) ? key.range : undefined
    return range ? lines.linePos(range[0]).line : null
  }
  const pairOf = (map: YAMLMap, name: string) => map.items.find(pair => isScalar(pair.key) && pair.key.value === name)
  const resources = validation && mapOf(validation, "resources")
  if (validation === undefined || resources === undefined) {
    const because = validation === undefined ? "there is no `validation` block" : "`validation` has no `resources`"
    return { file, line: lineOf(pairOf(root, "validation")?.key), declared: {}, problems: [{ line: null, because }] }
  }
  const facts: ResourceFacts = { file, line: lineOf(pairOf(validation, "resources")?.key), declared: {}, problems: [] }
  for (const name of RESOURCES) {
    const pair = pairOf(resources, name)
    if (pair === undefined) continue
    const line = lineOf(pair.key)
    const value = plainNumber(resources, name)
    if (value !== undefined) facts.declared[name] = { value, line: line ?? 1 }
    else facts.problems.push({ line, because: `\`${name}\` is not a number` })
  }
  return facts
}

function unreadResources(root: YAMLMap): Set<string> {
  const validation = root.get("validation", true)
  if (!isMap(validation)) return new Set(root.has("validation") ? RESOURCES : [])
  const resources = validation.get("resources", true)
  if (!isMap(resources)) return new Set(validation.has("resources") ? RESOURCES : [])
  return new Set(RESOURCES.filter(name => resources.has(name) && plainNumber(resources, name) === undefined))
}

// Octal, hexadecimal, exponents, underscores and sexagesimals are other numbers, or none, to other parsers.
const PLAIN_NUMBER = /^(?:0|[1-9]\d{0,14})(?:\.\d{1,15})?$/

function plainNumber(map: YAMLMap, name: string): number | undefined {
  const node = map.get(name, true)
  if (!isScalar(node) || node.type !== Scalar.PLAIN || typeof node.value !== "number") return undefined
  return PLAIN_NUMBER.test(node.source ?? "") ? node.value : undefined
}

function mapOf(map: YAMLMap, name: string): YAMLMap | undefined {
  const value = map.get(name)
  return isMap(value) ? value : undefined
}

function scalarOf(map: YAMLMap | undefined, name: string): unknown {
  const value = map?.get(name)
  return isScalar(value) ? value.value : value
}

function textOf(map: YAMLMap | undefined, name: string): string | null {
  const value = scalarOf(map, name)
  return typeof value === "string" || typeof value === "number" ? String(value).slice(0, 256) : null
}

function numberOf(map: YAMLMap | undefined, name: string): number | null {
  const value = scalarOf(map, name)
  return typeof value === "number" && Number.isInteger(value) ? value : null
}
