import type { MultiStageHygieneObservation } from "../schema/documents.generated.js"
import { normalizePath } from "./inventory.js"
import { baseName, dirName } from "./overlay.js"
import type { InventoryEntry } from "./view.js"

export type ResidueKind = MultiStageHygieneObservation["facts"]["residues"][number]["kind"]

/** What an entry is a residue of, and the path under which it is reported: a whole folder where the folder is meant. */
export interface Residue {
  readonly kind: ResidueKind
  readonly path: string
}

// Folders by their last names. One that begins with a slash is meant from the root, others wherever they lie.
const FOLDERS: Readonly<Partial<Record<ResidueKind, string>>> = {
  vcs: ".git .svn .hg .bzr .jj .fossil _darcs CVS",
  "editor-folder": ".vscode .vscode-server .idea .vs .fleet .zed .cursor .devcontainer .ipynb_checkpoints",
  "cloud-credentials": `.aws .azure .gcp .kube .config/gcloud .oci .aliyun .bluemix .config/doctl .terraform.d`,
  credentials: ".gnupg .password-store /run/secrets",
  fixture: "tests __tests__ fixtures __fixtures__ __mocks__ testdata test-fixtures __snapshots__",
  "tool-cache": ".pytest_cache .mypy_cache .ruff_cache .tox .nox .hypothesis .nyc_output htmlcov",
  "package-cache": `/var/lib/apt/lists /var/cache/apt /var/cache/apk /etc/apk/cache /var/cache/dnf /var/cache/libdnf5
    /var/cache/yum /var/cache/zypp /var/cache/pacman/pkg .cache/pip .cache/uv .cache/pypoetry .cache/pipenv
    .cache/pdm .cache/conda conda/pkgs miniconda3/pkgs anaconda3/pkgs miniforge3/pkgs mambaforge/pkgs
    .npm/_cacache .npm/_logs .cache/npm .cache/node-gyp .node-gyp .cache/yarn .yarn/berry/cache .yarn-cache
    .cache/pnpm .pnpm-store pnpm/store .bun/install/cache .cache/go-build go/pkg/mod .cargo/registry .cargo/git
    cargo/registry cargo/git .m2/repository .gradle/caches .gradle/wrapper/dists .ivy2/cache .sbt/boot
    .cache/coursier .cache/composer .composer/cache .cache/ccache .ccache .cache/sccache .cache/bazel .nuget/packages
    .cache/pre-commit .bundle/cache`,
  "build-tool": ".rustup rustup/toolchains go/pkg/tool lib/gcc libexec/gcc lib/gcc-cross",
  header: "/usr/include /usr/local/include",
  "build-metadata": "pkgconfig lib/cmake share/aclocal",
}

interface FolderRule {
  readonly kind: ResidueKind
  readonly path: string
  /** Meant from the root, not wherever it lies. */
  readonly isAbsolute: boolean
}

const FOLDER_RULES: ReadonlyMap<string, readonly FolderRule[]> = Map.groupBy(
  Object.entries(FOLDERS).flatMap(([kind, names]) =>
    names.split(/\s+/).map(name => ({
      kind: kind as ResidueKind,
      path: name.replace(/^\//, ""),
      isAbsolute: name.startsWith("/"),
    })),
  ),
  ({ path }) => baseName(path),
)

// pip, uv and npm are not here: they install, and images whose programs install at run time keep them.
const BUILD_TOOLS = new Set(
  `gcc g++ cc c++ cpp c89 c99 cc1 cc1plus collect2 gfortran gnat gdc clang clang++ clang-cpp llc lld tcc icx icpx nvcc
  ld ld.bfd ld.gold ld.lld gold as ar ranlib nm objcopy objdump strip gdb lldb
  make gmake cmake ctest ninja meson bazel bazelisk scons autoconf automake autoreconf aclocal libtool libtoolize m4
  bison flex yacc swig nasm yasm pkg-config pkgconf dpkg-buildpackage rpmbuild debuild node-gyp
  cargo rustc rustup rustdoc go gofmt javac jlink mvn gradle ant sbt scalac kotlinc ghc cabal ocamlopt zig swiftc nim
  git git-remote-https git-upload-pack svn hg bzr`.split(/\s+/),
)
const TRIPLET =
  /^(?:x86_64|amd64|i\d86|aarch64|arm\w*|riscv64|powerpc64le|ppc64le|s390x|mips\w*|loongarch64)-(?:\w+-)?\w+-/
const VERSION = /-\d+(?:\.\d+)*$/
const PROGRAM_FOLDERS = new Set(["bin", "sbin"])
const DEVELOPER = "build-essential|[a-z0-9][a-z0-9+.-]*-dev"
const BUILD_PACKAGE = new RegExp(
  `^var/lib/dpkg/(?:info/(?<info>${DEVELOPER})(?::[a-z0-9]+)?\\.list|status\\.d/(?<status>${DEVELOPER}))$`,
)
// What a package brought of its own: judged with the package, not as this image's leftovers.
const PACKAGE_FOLDERS = new Set(["site-packages", "dist-packages", "node_modules", "gems"])
const OTHER_INCLUDE = /^(?:opt|usr\/local)\/[^/]+\/include$/

// Files that hold credentials by convention: by name, or by the folders before it where a name says too little.
const CREDENTIALS: ReadonlyMap<string, readonly string[]> = Map.groupBy(
  `.netrc _netrc .pypirc .git-credentials .pgpass .my.cnf .mylogin.cnf .s3cfg .boto .htpasswd .vault-token .dockercfg
  .smbcredentials .docker/config.json .config/gh/hosts.yml .config/git/credentials .config/hub .cargo/credentials
  .cargo/credentials.toml .gem/credentials .m2/settings.xml .m2/settings-security.xml .huggingface/token
  .cache/huggingface/token .config/rclone/rclone.conf .config/containers/auth.json .composer/auth.json
  .config/composer/auth.json .kaggle/kaggle.json .config/kaggle/kaggle.json terraform.tfstate credentials.tfrc.json
  application_default_credentials.json kubernetes/admin.conf k3s/k3s.yaml`.split(/\s+/),
  baseName,
)
const CREDENTIALS_NAME = /^(?:client_secret.*|service[-_]?account.*)\.json$/
const KEY_NAME = /^id_(?:rsa|dsa|ecdsa|ed25519)(?:_sk)?$|\.(?:p12|pfx|ppk|kdbx)$/i
const ENV_FILE = /^\.env(?:rc)?(?:\.|$)/
const ENV_TEMPLATE = /\.(?:example|sample|template|dist)$/

interface Folder {
  readonly path: string
  readonly residue: Residue | undefined
  /** Whether a package of Python, Node.js or Ruby brought it. */
  readonly isOwn: boolean
}

/**
 * Finds what building leaves behind, by files and never by Dockerfile commands, which say what ran and not what stayed.
 * Archives list a folder's files together: each run of them looks at the folder once.
 */
export class ResidueFinder {
  #folder: Folder = readFolder("")

  residueOf(entry: InventoryEntry, path: string): Residue | undefined {
    if (entry.type === "directory") return undefined
    const folder = dirName(path)
    if (folder !== this.#folder.path) this.#folder = readFolder(folder)
    // A secret is one wherever it lies: in a folder of tests, too.
    return secret(entry, path, this.#folder) ?? inFolder(entry, path, this.#folder) ?? byFile(entry, path, this.#folder)
  }
}

function readFolder(path: string): Folder {
  let residue: Residue | undefined
  let isOwn = false
  let name = ""
  for (let start = 0; start < path.length; ) {
    const slash = path.indexOf("/", start)
    const end = slash < 0 ? path.length : slash
    const parent = name
    name = path.slice(start, end)
    residue ??= folderResidue(name, path, end)
    isOwn ||= PACKAGE_FOLDERS.has(name) || (parent === "lib" && name.startsWith("python3"))
    start = end + 1
  }
  return { path, residue, isOwn }
}

/** What the folder that ends at `end` of `path` is by its names. */
function folderResidue(name: string, path: string, end: number): Residue | undefined {
  const rules = FOLDER_RULES.get(name)
  if (rules === undefined && name !== "include") return undefined
  const folder = path.slice(0, end)
  const rule = rules?.find(candidate => matches(candidate, folder))
  if (rule !== undefined) return { kind: rule.kind, path: folder }
  return OTHER_INCLUDE.test(folder) ? { kind: "header", path: folder } : undefined
}

const matches = (rule: FolderRule, path: string) =>
  path === rule.path || (!rule.isAbsolute && path.endsWith(`/${rule.path}`))

const isIn = (path: string, ...folders: readonly string[]) => folders.some(folder => path.startsWith(`${folder}/`))

function secret(entry: InventoryEntry, path: string, { isOwn }: Folder): Residue | undefined {
  const { content, size, type } = entry
  if (content === "private-key" || content === "key-store") return { kind: "private-key", path }
  if (content === "credentials") return { kind: "credentials", path }
  // A hard link is the file itself under another name, which may be all that a later layer leaves of it.
  const names = type === "hardlink" ? [path, normalizePath(entry.linkTarget ?? "")] : size > 0 ? [path] : []
  for (const named of names) {
    const name = baseName(named)
    if (KEY_NAME.test(name) && content !== "script") return { kind: "private-key", path }
    if (holdsCredentials(named, name) || (CREDENTIALS_NAME.test(name) && !isOwn)) return { kind: "credentials", path }
    if (ENV_FILE.test(name) && !ENV_TEMPLATE.test(name) && !isOwn) return { kind: "env-file", path }
  }
  return undefined
}

const holdsCredentials = (path: string, name: string): boolean =>
  CREDENTIALS.get(name)?.some(rule => path === rule || path.endsWith(`/${rule}`)) ?? false

function inFolder(entry: InventoryEntry, path: string, { residue, isOwn }: Folder): Residue | undefined {
  switch (residue?.kind) {
    case "fixture":
      return isOwn || isIn(path, "usr/lib", "usr/share") ? undefined : residue
    case "build-metadata":
      // Packages that hold no headers bring some there.
      return isOwn || isIn(path, "usr/share") ? undefined : residue
    case "package-cache":
      // An empty folder's lock or marker is no cache.
      return (entry.size > 0 || entry.type === "hardlink") && baseName(path) !== "lock" ? residue : undefined
    case "credentials":
      // Engines leave empty files where a secret was mounted.
      return entry.size > 0 || entry.type === "symlink" ? residue : undefined
    default:
      return residue
  }
}

// Folders that may stand elsewhere and be linked: the link has the name that tools look for.
const LINKED: ReadonlySet<ResidueKind> = new Set(["vcs", "cloud-credentials", "credentials", "editor-folder"])

function byFile(entry: InventoryEntry, path: string, folder: Folder): Residue | undefined {
  const name = baseName(path)
  if (entry.type !== "file" || name === ".git") {
    const linked = folderResidue(name, path, path.length)
    if (linked !== undefined && LINKED.has(linked.kind)) return linked
  }
  const developer = BUILD_PACKAGE.exec(path)?.groups
  if (developer !== undefined) return { kind: "build-package", path: developer.info ?? developer.status ?? path }
  return isBuildTool(entry, path) ? { kind: "build-tool", path } : byContent(entry, path, folder)
}

// Elsewhere than in a folder of programs, a file is a tool if it also is a program: `app/make` may be anything.
function isBuildTool({ type, content, mode, linkTarget }: InventoryEntry, path: string): boolean {
  if (isToolName(baseName(path)))
    return isInPrograms(path) || (type === "file" && content === "elf" && (mode & 0o111) !== 0)
  const target = type === "hardlink" ? normalizePath(linkTarget ?? "") : ""
  return isInPrograms(target) && isToolName(baseName(target))
}

const isToolName = (name: string) =>
  BUILD_TOOLS.has(name) || BUILD_TOOLS.has(name.replace(TRIPLET, "").replace(VERSION, ""))
const isInPrograms = (path: string) => PROGRAM_FOLDERS.has(baseName(dirName(path)))

const LOOSE_OBJECT = /\/objects\/[0-9a-f]{2}\/[0-9a-f]{38}(?:[0-9a-f]{24})?$/
const PACK = /\/objects\/pack\/[^/]+$/

function byContent({ content }: InventoryEntry, path: string, { isOwn }: Folder): Residue | undefined {
  switch (content) {
    case "git-pack":
      // The repository, whatever its folder is called.
      return { kind: "vcs", path: path.replace(PACK, "") }
    case "binary":
      return LOOSE_OBJECT.test(path) ? { kind: "vcs", path: path.replace(LOOSE_OBJECT, "") } : undefined
    case "ar":
      return isOwn ? undefined : { kind: "static-library", path }
    case "elf-object":
      return isOwn || path.endsWith(".ko") ? undefined : { kind: "object-file", path }
    default:
      return undefined
  }
}
