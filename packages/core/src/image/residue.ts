import type { MultiStageHygieneObservation } from "../schema/documents.generated.js"
import { baseName } from "./overlay.js"
import type { InventoryEntry } from "./view.js"

export type ResidueKind = MultiStageHygieneObservation["facts"]["residues"][number]["kind"]

/** What an entry is a residue of, and the path under which it is reported: a whole folder where the folder is meant. */
export interface Residue {
  readonly kind: ResidueKind
  readonly path: string
}

const SEGMENTS: Readonly<Record<string, ResidueKind>> = {
  ".git": "vcs",
  ".svn": "vcs",
  ".hg": "vcs",
  ".bzr": "vcs",
  ".vscode": "editor-folder",
  ".idea": "editor-folder",
  ".vs": "editor-folder",
  ".aws": "cloud-credentials",
  ".azure": "cloud-credentials",
  ".gcp": "cloud-credentials",
  ".kube": "cloud-credentials",
  tests: "fixture",
  __tests__: "fixture",
  fixtures: "fixture",
  testdata: "fixture",
  __snapshots__: "fixture",
}

const CACHES =
  /^(var\/lib\/apt\/lists|var\/cache\/(?:apt|apk|dnf|yum)|(?:.*\/)?\.cache\/(?:pip|uv|go-build|yarn|pnpm)|(?:.*\/)?\.npm\/_cacache|(?:.*\/)?\.cargo\/registry|(?:.*\/)?go\/pkg\/mod)\/./
const BUILD_TOOL =
  /^(?:[a-z0-9_]+-[a-z0-9_]+-[a-z0-9_]+-)?(?:gcc|g\+\+|cc1|cc1plus|clang|clang\+\+|ld(?:\.bfd|\.gold|\.lld)?|as|make|cmake|ninja|cargo|rustc|go|git|javac)(?:-\d+(?:\.\d+)*)?$/
const BIN_FOLDER = /(?:^|\/)s?bin\/[^/]+$|(?:^|\/)lib(?:exec)?\/gcc\//
const BUILD_PACKAGE = /^var\/lib\/dpkg\/info\/(build-essential|[a-z0-9][a-z0-9+.-]*-dev)(?::[a-z0-9]+)?\.list$/
// What a package brought of its own: judged with the package, not as this image's leftovers.
const OWN_OF_A_PACKAGE =
  /(?:^|\/)(?:site-packages|dist-packages|node_modules)\/|(?:^|\/)lib\/python3[^/]*\/|^usr\/(?:lib|share)\//

/** Judges by files, never by Dockerfile commands, which say what ran and not what stayed. */
export function residueOf(entry: InventoryEntry, path: string): Residue | undefined {
  if (entry.type === "directory") return undefined
  return bySegment(path) ?? byPattern(entry, path)
}

function bySegment(path: string): Residue | undefined {
  const segments = path.split("/")
  for (const [i, segment] of segments.entries()) {
    const kind = Object.hasOwn(SEGMENTS, segment) ? SEGMENTS[segment] : undefined
    // A file may be called `tests`; only folders of fixtures count. A `.git` file is a submodule's or worktree's.
    if (kind === undefined || (i === segments.length - 1 && kind !== "vcs")) continue
    if (kind === "fixture" && OWN_OF_A_PACKAGE.test(path)) continue
    return { kind, path: segments.slice(0, i + 1).join("/") }
  }
  return undefined
}

function byPattern(entry: InventoryEntry, path: string): Residue | undefined {
  const name = baseName(path)
  const cache = entry.size > 0 && name !== "lock" ? CACHES.exec(path)?.[1] : undefined
  if (cache !== undefined) return { kind: "package-cache", path: cache }
  const developer = BUILD_PACKAGE.exec(path)?.[1]
  if (developer !== undefined) return { kind: "build-package", path: developer }
  if (entry.content === "private-key") return { kind: "private-key", path }
  if (/^\.env(\.|$)/.test(name) && !/\.(example|sample|template)$/.test(name) && entry.size > 0)
    return { kind: "env-file", path }
  if (path.endsWith(".config/gcloud/credentials.db") || path.endsWith(".docker/config.json"))
    return { kind: "cloud-credentials", path }
  if (BUILD_TOOL.test(name) && BIN_FOLDER.test(path)) return { kind: "build-tool", path }
  const include = /^(usr\/(?:local\/)?include)\/./.exec(path)?.[1]
  if (include !== undefined) return { kind: "header", path: include }
  if (OWN_OF_A_PACKAGE.test(path)) return undefined
  if (name.endsWith(".a") && entry.content === "ar") return { kind: "static-library", path }
  if (name.endsWith(".o") && entry.content === "elf-object") return { kind: "object-file", path }
  return undefined
}
