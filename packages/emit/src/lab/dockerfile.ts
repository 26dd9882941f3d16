// What a Dockerfile would have the engine mount, read so that whatever is not plainly harmless is refused: the text is a
// stranger's, and mounts of older engines reach the host's files.

const COMMENT = /^[ \t]*#/

/** Lines as the builder joins them: comments gone, continuations put together. */
const joinLines = (text: string, escapes: RegExp): string =>
  text
    .split(/\r?\n/)
    .filter(line => !COMMENT.test(line))
    .join("\n")
    .replace(escapes, "")

const BACKSLASH = /\\[ \t]*\n(?:[ \t]*\n)*/g
const ANY_ESCAPE = /[\\`][ \t]*\n(?:[ \t]*\n)*/g
const QUOTING = /["'\\`]/g
const MOUNT = /--mount/gi

/** Whether the text has `--mount` anywhere, in whatever quoting. */
export const usesMounts = (text: string): boolean => joinLines(text, ANY_ESCAPE).replace(QUOTING, "").search(MOUNT) >= 0

const TARGETS = ["target", "dst", "destination"]

/** The options of each type that cannot reach the host's files, whatever stands before in the Dockerfile. */
const OPTIONS: Readonly<Record<string, ReadonlySet<string>>> = {
  bind: new Set(["type", "source", "src", "ro", "readonly", ...TARGETS]),
  cache: new Set(["type", "id", "uid", "gid", "mode", "sharing", "ro", "readonly", ...TARGETS]),
  tmpfs: new Set(["type", "size", "tmpfs-size", "tmpfs-mode", ...TARGETS]),
  secret: new Set(["type", "id", "uid", "gid", "mode", "required", ...TARGETS]),
  ssh: new Set(["type", "id", "uid", "gid", "mode", "required", ...TARGETS]),
}

/**
 * Why these mounts are not for an engine with the holes of buildah before 1.38.1; undefined where they are harmless.
 * CVE-2024-1753: `from=` and a link in that stage; CVE-2024-9675: a cache's id, or a link in a cache that holds another;
 * and `rw` writes into the context, so that a later mount may take a link from there.
 */
export function mountProblem(text: string): string | undefined {
  if (!usesMounts(text)) return undefined
  if (/^[ \t]*#[ \t]*escape[ \t]*=[ \t]*[^\s\\]/im.test(text)) return "mounts under another escape character"
  const joined = joinLines(text, BACKSLASH)
  // Not \S: the builder's spaces are other ones than a regular expression's.
  const tokens = joined.match(/--mount[^ \t\r\n\f\v]*/gi) ?? []
  if (tokens.length !== joined.replace(QUOTING, "").match(MOUNT)?.length) return "a --mount in quotes or escapes"
  const caches: string[] = []
  for (const token of tokens) {
    const because = optionsProblem(token, caches)
    if (because !== undefined) return because
  }
  return nestedCache(caches)
}

function optionsProblem(token: string, caches: string[]): string | undefined {
  const list = /^--mount=([\w./:@+~=,-]+)$/.exec(token)?.[1]
  if (list === undefined) return `${token.slice(0, 80)}, whose options cannot be read`
  const pairs = list.split(",").map(option => {
    const [name = "", ...value] = option.split("=")
    return [name, value.join("=")] as const
  })
  const options = new Map(pairs)
  const known = OPTIONS[options.get("type") ?? "bind"]
  const other = pairs.find(([name]) => known?.has(name) !== true)
  if (known === undefined || options.size < pairs.length) return token.slice(0, 80)
  if (other !== undefined) return `${other[0]} in ${token.slice(0, 80)}`
  if (pairs.some(([, value]) => value.split("/").includes(".."))) return `.. in ${token.slice(0, 80)}`
  if (options.get("type") !== "cache") return undefined
  // A lock lies in the cache itself, where a link may lie in its place.
  if ((options.get("sharing") ?? "shared") !== "shared") return `sharing in ${token.slice(0, 80)}`
  caches.push(options.get("id") ?? options.get("target") ?? options.get("dst") ?? options.get("destination") ?? "")
  return undefined
}

function nestedCache(caches: readonly string[]): string | undefined {
  const folders = caches.map(cache => cache.split("/").filter(part => part !== "" && part !== "."))
  const isAbove = (outer: readonly string[], inner: readonly string[]) =>
    outer.length < inner.length && outer.every((part, index) => part === inner[index])
  const outer = folders.find(folder => folder.length === 0 || folders.some(other => isAbove(folder, other)))
  return outer === undefined ? undefined : `the cache /${outer.join("/")}, which holds another one`
}

const REFERENCE = /^[a-z0-9][\w.-]*(?::\d+(?=\/))?(?:\/[\w.-]+)*(?::[\w.-]+)?(?:@sha256:[0-9a-f]{64})?$/
// containers-transports(5): these read an image from a file, a folder or another storage.
const TRANSPORT = /^(?:containers-storage|dir|docker|docker-archive|docker-daemon|oci|oci-archive|ostree|sif|tarball):/i

export type BaseReferences = { readonly references: readonly string[] } | { readonly problem: string }

/**
 * The images on which a Dockerfile builds, whose ONBUILD triggers become part of it. Only what can be read without doubt:
 * a name that is missed here would bring instructions that nobody looked at.
 */
export function baseReferences(text: string, buildArgs: Readonly<Record<string, string>>): BaseReferences {
  const lines = joinLines(text, BACKSLASH).split("\n")
  const hasHeredoc = text.includes("<<")
  const values = headingValues(lines, buildArgs)
  const stages = new Set<string>()
  const references = new Set<string>()
  // A heredoc may hide an instruction from the joining of lines, by a delimiter with an escape in it.
  for (const line of hasHeredoc ? [...lines, ...text.split(/\r?\n/)] : lines) {
    const words = /^[\s\u0085]*FROM[\s\u0085]+(.*)$/i
      .exec(line)?.[1]
      ?.trim()
      .split(/[\s\u0085]+/)
    if (words === undefined) continue
    const [name = "", as, stage, ...more] = words
    if (name.startsWith("-")) return { problem: `FROM with ${name.slice(0, 80)}` }
    // The builder refuses it.
    if (more.length > 0 || (as !== undefined && (as.toLowerCase() !== "as" || stage === undefined))) continue
    const reference = expandName(name, values)
    if (reference === undefined) return { problem: `the name in FROM ${name.slice(0, 80)}, which cannot be read` }
    // In a heredoc, the stage's name may be text.
    if (stages.has(reference.toLowerCase()) && hasHeredoc)
      return { problem: `FROM ${reference} of a stage, beside a heredoc` }
    if (reference !== "scratch" && !stages.has(reference.toLowerCase())) references.add(reference)
    if (stage !== undefined) stages.add(stage.toLowerCase())
  }
  return { references: [...references] }
}

// The builder has values of its own for these.
const BUILDER_ARGUMENT = /^(?:target|build)(?:platform|os|arch|variant)$|_proxy$/i

/** ARG before the first FROM; null for a name whose value is not sure. */
function headingValues(
  lines: readonly string[],
  buildArgs: Readonly<Record<string, string>>,
): ReadonlyMap<string, string | null> {
  const values = new Map<string, string | null>()
  for (const line of lines) {
    if (/^[\s\u0085]*FROM\b/i.test(line)) break
    if (line.trim() === "") continue
    const [, name, , value] = /^\s*ARG\s+([A-Za-z_]\w*)(?:=(["']?)([^\s"'\\$]*)\2)?\s*$/i.exec(line) ?? []
    if (name === undefined) return new Map()
    const told = Object.hasOwn(buildArgs, name) ? buildArgs[name] : value
    const isSure = !BUILDER_ARGUMENT.test(name) && (!values.has(name) || values.get(name) === told)
    if (told !== undefined) values.set(name, isSure ? told : null)
  }
  return values
}

function expandName(name: string, values: ReadonlyMap<string, string | null>): string | undefined {
  const expanded = name.replace(
    /\$(?:\{([A-Za-z_]\w*)\}|([A-Za-z_]\w*))/g,
    (whole, braced: string | undefined, bare: string | undefined) => values.get(braced ?? bare ?? "") ?? whole,
  )
  return REFERENCE.test(expanded) && !TRANSPORT.test(expanded) ? expanded : undefined
}
