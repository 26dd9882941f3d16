import { isMap, isScalar, LineCounter, parseDocument as parseYaml, type YAMLMap } from "yaml"
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
  const document = parseYaml(source.text.slice(0, limits.sourceTextBytes), { lineCounter: lines, uniqueKeys: true })
  const [error] = document.errors
  if (error !== undefined || !isMap(document.contents)) {
    const line = error?.linePos?.[0].line ?? null
    const because = `${source.path} is not ${error === undefined ? "a YAML mapping" : `valid YAML (${error.code})`}`
    return {
      ...NOTHING,
      file: source.path,
      unread: new Set(RESOURCES),
      resources: { ...NOTHING.resources, file: source.path, problems: [{ line, because }] },
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
    // OpenEnv's way to say that rewards vary under one seed.
    declaresNondeterminism: Number(scalarOf(reward, "variance_tolerance") ?? 0) > 0,
    port: numberOf(root, "port"),
    dockerfile: textOf(execution, "dockerfile"),
  }
}

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
    const value = isScalar(pair.value) ? pair.value.value : undefined
    if (typeof value === "number" && Number.isFinite(value)) facts.declared[name] = { value, line: line ?? 1 }
    else facts.problems.push({ line, because: `\`${name}\` is not a number` })
  }
  return facts
}

function unreadResources(root: YAMLMap): Set<string> {
  const validation = root.get("validation", true)
  if (!isMap(validation)) return new Set(root.has("validation") ? RESOURCES : [])
  const resources = validation.get("resources", true)
  if (!isMap(resources)) return new Set(validation.has("resources") ? RESOURCES : [])
  return new Set(RESOURCES.filter(name => resources.has(name) && typeof scalarOf(resources, name) !== "number"))
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
