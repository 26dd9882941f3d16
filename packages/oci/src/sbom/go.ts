import { decodeUtf8 } from "@envidence/core"
import { matching, type PackageFacts } from "./package-facts.js"

/** Opens the build information that Go's linker writes, on a boundary of 16 bytes. */
export const GO_BUILD_INFO_MAGIC = Buffer.from("\xff Go buildinf:", "latin1")
export const GO_BUILD_INFO_SECTION = ".go.buildinfo"

const HEADER_BYTES = 32
const FLAGS = 15
const INLINE_STRINGS = 2
// The module list stands between two marks, by which the runtime finds it (cmd/go, modload.ModInfoData).
const MARK_BYTES = 16

const PATH = /^[\x21-\x7e]{1,1024}$/
const VERSION = /^[\x21-\x7e]{1,256}$/
const GO_VERSION = /(?:^|\s)go(\d[0-9A-Za-z.+-]{0,63})/
const DEVELOPMENT = "(devel)"

/**
 * Reads the build information of a Go program (debug/buildinfo): its main module, the modules compiled into it and the
 * standard library.
 *
 * @throws Error where it is none of Go 1.18 or later
 */
export function parseGoBuildInfo(bytes: Buffer): PackageFacts[] {
  if (!bytes.subarray(0, GO_BUILD_INFO_MAGIC.length).equals(GO_BUILD_INFO_MAGIC))
    throw new Error("its Go build information does not start with its mark")
  if ((bytes.readUInt8(FLAGS) & INLINE_STRINGS) === 0)
    throw new Error("its Go build information is in the format from before Go 1.18")
  const version = readString(bytes, HEADER_BYTES)
  const modules = readString(bytes, version.end).text
  return [...parseModules(unmark(modules)), ...standardLibrary(version.text)]
}

function readString(bytes: Buffer, at: number): { readonly text: Buffer; readonly end: number } {
  let length = 0
  let position = at
  for (let shift = 0; ; shift += 7) {
    const byte = bytes.readUInt8(position++)
    length += (byte & 0x7f) * 2 ** shift
    if (byte < 0x80) break
    if (shift > 42) throw new Error("its Go build information has a length without end")
  }
  const end = position + length
  if (end > bytes.length) throw new Error("its Go build information breaks off")
  return { text: bytes.subarray(position, end), end }
}

function unmark(modules: Buffer): string {
  const marked = modules.length >= 2 * MARK_BYTES + 1 && modules.at(-MARK_BYTES - 1) === 0x0a
  return marked ? decodeUtf8(modules.subarray(MARK_BYTES, -MARK_BYTES), "its Go module list") : ""
}

interface Module {
  readonly path: string
  readonly version: string
  readonly sum: string
}

/** Lines of tabs between fields: `mod` the main module, `dep` one compiled in, `=>` what the line before it became. */
function parseModules(text: string): PackageFacts[] {
  let main: Module | undefined
  const others: Module[] = []
  for (const line of text.split("\n")) {
    const [key, path = "", version = "", sum = ""] = line.split("\t")
    if (key === "mod") main = { path, version, sum }
    else if (key === "dep") others.push({ path, version, sum })
    else if (key === "=>" && others.length > 0) others.splice(-1, 1, { path, version, sum })
    else if (key === "=>") main = { path, version, sum }
  }
  const requires = [...others.map(({ path }) => path), STANDARD_LIBRARY]
  const compiled = others.map(module => describe(module, []))
  return main === undefined ? compiled : [describe(main, requires), ...compiled]
}

const STANDARD_LIBRARY = "stdlib"

function standardLibrary(version: Buffer): PackageFacts[] {
  const release = GO_VERSION.exec(version.toString("latin1"))?.[1]
  if (release === undefined) throw new Error("its Go build information has no Go version")
  return [describe({ path: STANDARD_LIBRARY, version: release, sum: "" }, [])]
}

function describe({ path, version, sum }: Module, requires: readonly string[]): PackageFacts {
  const name = matching(path, PATH, "a Go module's path")
  const released = version !== "" && version !== DEVELOPMENT
  // The package URL's type has lower case: "namespace and name must be lowercased".
  const slash = path.lastIndexOf("/")
  return {
    type: "golang",
    name,
    version: released ? matching(version, VERSION, `version of ${name}`) : null,
    purl: {
      namespace: slash < 0 ? null : path.slice(0, slash).toLowerCase(),
      name: path.slice(slash + 1).toLowerCase(),
    },
    licenses: [],
    // A hash over the hashes of the module's files, so it is no hash of any file.
    properties: /^h1:[A-Za-z0-9+/]{43}=$/.test(sum) ? [["go:sum", sum]] : [],
    requires,
    provides: [],
  }
}
