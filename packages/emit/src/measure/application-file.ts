import { extname, posix } from "node:path"
import type { LayerChangeIsolationObservation } from "@envidence/core"
import { DockerIgnore } from "@envidence/oci"
import { type CopyInstruction, findStage, parseCopy, type Stage } from "./dockerfile.js"

/** The file whose change is observed. */
export type ApplicationFile = LayerChangeIsolationObservation["facts"]["file"]

export interface ApplicationSources {
  readonly stages: readonly Stage[]
  /** Regular files of the staged context, relative, sorted. */
  readonly files: readonly string[]
  /** Entrypoint and command of the image. */
  readonly command: readonly string[]
}

const COMMENT = "a change of one comment"

// By the file's own language, so that the program stays the same program. Where a comment at the end could change what
// a file means (JSON, Markdown, templates), the file is not chosen.
const COMMENTS: Readonly<Record<string, string>> = {
  ".py": "#",
  ".sh": "#",
  ".bash": "#",
  ".rb": "#",
  ".pl": "#",
  ".jl": "#",
  ".r": "#",
  ".ex": "#",
  ".exs": "#",
  ".js": "//",
  ".mjs": "//",
  ".cjs": "//",
  ".ts": "//",
  ".mts": "//",
  ".cts": "//",
  ".tsx": "//",
  ".jsx": "//",
  ".go": "//",
  ".rs": "//",
  ".java": "//",
  ".kt": "//",
  ".scala": "//",
  ".swift": "//",
  ".cs": "//",
  ".c": "//",
  ".cc": "//",
  ".cpp": "//",
  ".h": "//",
  ".hpp": "//",
  ".lua": "--",
  ".hs": "--",
}

const commentOf = (path: string): string | undefined => {
  const extension = extname(path).toLowerCase()
  return Object.hasOwn(COMMENTS, extension) ? COMMENTS[extension] : undefined
}

// A setup script or a configuration in source form decides what is installed: its change may well move everything.
const NOT_APPLICATION =
  /(?:^|\/)(?:tests?|__tests__|fixtures|testdata|docs|examples|node_modules|\.[^/]+)\/|(?:^|\/)(?:setup|conftest|noxfile|build|[^/]*\.config|[^/]*\.lock)\.[a-z]+$/i

/** What a COPY or ADD brings from the build context, the last one of the final stage first. */
export function contextCopies(stages: readonly Stage[]): CopyInstruction[] {
  return stages.length === 0 ? [] : copiesInto(stages, stages.length - 1, new Set())
}

function copiesInto(stages: readonly Stage[], at: number, seen: Set<number>): CopyInstruction[] {
  const stage = stages[at]
  if (stage === undefined || seen.has(at)) return []
  seen.add(at)
  const copies = stage.instructions.flatMap(instruction => parseCopy(instruction) ?? []).reverse()
  const own = copies.flatMap(copy => {
    if (copy.from === null) return [copy]
    const source = findStage(stages, copy.from, at)
    return source === undefined ? [] : copiesInto(stages, source, seen)
  })
  const below = findStage(stages, stage.from, at)
  return below === undefined ? own : [...own, ...copiesInto(stages, below, seen)]
}

/**
 * The source file that the image's command starts, where the Dockerfile copies it; else a source file of what it copies
 * last. Undefined where it copies no source from its context.
 */
export function chooseApplicationFile(sources: ApplicationSources): ApplicationFile | undefined {
  const candidates = sources.files.filter(path => commentOf(path) !== undefined && !NOT_APPLICATION.test(path))
  const groups = contextCopies(sources.stages).map(copy => ({ copy, paths: matched(copy, candidates) }))
  for (const wanted of startedBy(sources.command))
    for (const { copy, paths } of groups) {
      const [path] = paths.filter(candidate => endsWithPath(candidate, wanted)).sort(shortestFirst)
      if (path !== undefined) return fileOf(path, "started-by-command", copy)
    }
  for (const { copy, paths } of groups) {
    const [path] = paths.toSorted((a, b) => rank(a) - rank(b) || shortestFirst(a, b))
    if (path !== undefined) return fileOf(path, "copied-source", copy)
  }
  return undefined
}

const fileOf = (path: string, because: ApplicationFile["because"], { line }: CopyInstruction): ApplicationFile => ({
  path,
  because,
  copiedBy: line,
  appended: `\n${commentOf(path)} ${COMMENT}\n`,
})

const endsWithPath = (path: string, wanted: string) => path === wanted || path.endsWith(`/${wanted}`)

const depth = (path: string) => path.split("/").length
const shortestFirst = (a: string, b: string) => depth(a) - depth(b) || a.length - b.length || (a < b ? -1 : 1)

// Empty package markers are rarely edited; a server's or program's main file often is.
const rank = (path: string) =>
  /^__init__\./.test(posix.basename(path)) ? 2 : /^(?:app|main|server|index)\./.test(posix.basename(path)) ? 0 : 1

function matched({ sources }: CopyInstruction, files: readonly string[]): string[] {
  return sources.flatMap(source => {
    // Variables and addresses are not followed.
    if (/[$]|^[a-z]+:\/\//i.test(source)) return []
    const path = posix.normalize(`/${source}`).slice(1).replace(/\/$/, "")
    if (path === "") return [...files]
    // .dockerignore and COPY share the rules of matching: a folder stands for all that is in it.
    const pattern = patternOf(path.replace(/^[!#]/, "?"))
    return pattern === undefined ? [] : files.filter(file => pattern.ignores(file))
  })
}

function patternOf(text: string): DockerIgnore | undefined {
  try {
    return new DockerIgnore(text)
  } catch {
    // The engine has refused such a pattern, or taken it for another than we do.
    return undefined
  }
}

const MODULE = /^[A-Za-z_]\w*(?:\.[A-Za-z_]\w*){0,16}$/

/** Paths, from some folder on, of what a command line starts: `server.app:app`, `-m pkg.main`, `python x.py`. */
export function startedBy(command: readonly string[]): string[] {
  const words = command
    .join(" ")
    .slice(0, 65_536)
    .split(/[\s;&|()"']+/)
  return words.flatMap((word, index) => {
    const [module = "", attribute] = word.split(":")
    if (attribute !== undefined && MODULE.test(module) && MODULE.test(attribute)) return moduleFiles(module)
    if (words[index - 1] === "-m" && MODULE.test(word)) return [...moduleFiles(word), ...packageMain(word)]
    if (commentOf(word) === undefined) return []
    const path = posix.normalize(word).replace(/^\/+/, "")
    // Where in the image its context lies is not known: the path may begin anywhere.
    const components = path.split("/")
    return components.map((_, at) => components.slice(at).join("/")).slice(0, 16)
  })
}

const moduleFiles = (module: string) => [
  `${module.replaceAll(".", "/")}.py`,
  `${module.replaceAll(".", "/")}/__init__.py`,
]
const packageMain = (module: string) => [`${module.replaceAll(".", "/")}/__main__.py`]
