import {
  catalogue,
  criteria,
  type ImageView,
  type InventoryEntry,
  isJudged,
  readDeclaration,
  type StaticEvidence,
  schemaViolation,
} from "@envidence/core"
import { describe, expect, test } from "vitest"

// INTERFACE: ids in report order.
const IDS = [
  "reproducible-build",
  "layer-change-isolation",
  "multi-stage-hygiene",
  "archive-free-layout",
  "conversion-clean",
  "time-to-first-useful-work",
  "composition-inspection",
  "signature-and-sbom",
  "oci-labels",
  "resource-declarations",
  "periodic-learnability",
  "session-scaling",
  "seeded-determinism",
  "reward-integrity",
  "oci-runtime-conformance",
  "runtime-isolation",
  "runtime-drift",
  "gpu-workload",
]

test("the catalogue has its eighteen criteria in report order, each with a requirement", () => {
  expect(catalogue.map(({ id }) => id)).toEqual(IDS)
  for (const { requirement, name } of catalogue)
    expect([requirement.length > 20, name.length > 0]).toEqual([true, true])
  expect([...criteria.keys()]).toEqual(catalogue.filter(isJudged).map(({ id }) => id))
})

const entry = (path: string, content: InventoryEntry["content"] = "text", size = 10): InventoryEntry => ({
  path,
  type: "file",
  size,
  mode: 0o644,
  uid: 0,
  gid: 0,
  mtime: 0,
  sha256: "ab".repeat(32),
  ...(content === undefined ? {} : { content }),
})
const digest = `sha256:${"1".repeat(64)}` as const
const imageOf = (layers: readonly (readonly InventoryEntry[])[], instruction: string | null = null): ImageView => ({
  manifestDigest: digest,
  configDigest: digest,
  platform: "linux/amd64",
  config: { user: "", labels: {}, env: [], entrypoint: [], cmd: [], workingDir: "" },
  layers: layers.map(entries => ({ digest, diffId: digest, mediaType: "", size: 0, instruction, entries })),
})
const evidenceOf = (image: ImageView): StaticEvidence => ({ image, declaration: readDeclaration([]), sbom: null })

interface Residues {
  readonly residues: readonly { kind: string; path: string; layer: number; hidden: boolean }[]
}
const residuesOf = (...layers: readonly InventoryEntry[][]): Residues["residues"] => {
  const facts = criteria.get("multi-stage-hygiene")?.inspect?.(evidenceOf(imageOf(layers)))
  return (facts as Residues).residues
}

describe("static criteria", () => {
  test.each([...criteria.values()].filter(({ inspect }) => inspect !== null))(
    "$id states facts of its schema about an image with nothing, and decides",
    criterion => {
      const facts = criterion.inspect?.(evidenceOf(imageOf([])))
      const document = { criterion: criterion.id, revision: criterion.revision, facts }
      expect(schemaViolation(criterion.schema, document)).toBeUndefined()
      const thresholds = Object.fromEntries(Object.entries(criterion.thresholds).map(([name, t]) => [name, t.default]))
      const context = {
        imageDigest: digest,
        configDigest: digest,
        sbomDigest: null,
        builtFromSubmission: false,
        seeds: [],
        signature: "verified",
      } as const
      expect(["pass", "fail", "unmeasured"]).toContain(criterion.judge(facts, thresholds, context).outcome)
    },
  )
})

describe("hygiene", () => {
  test.each<[string, string, InventoryEntry["content"]?, number?, number?]>([
    ["app/.git/config", "vcs"],
    ["app/.git", "vcs"],
    ["./app/.git/HEAD", "vcs"],
    ["/app/../app/.git/HEAD", "vcs"],
    ["app/tests/test_x.py", "fixture"],
    ["root/.aws/credentials", "cloud-credentials"],
    ["root/.docker/config.json", "credentials"],
    ["app/.env", "env-file"],
    ["app/.env.production", "env-file"],
    ["etc/ssl/server.key", "private-key", "private-key"],
    ["usr/bin/gcc-12", "build-tool"],
    ["usr/bin/x86_64-linux-gnu-g++", "build-tool"],
    ["usr/include/stdio.h", "header"],
    ["app/libx.a", "static-library", "ar"],
    ["app/x.o", "object-file", "elf-object"],
    ["root/.cache/pip/http/x", "package-cache"],
    ["var/lib/apt/lists/deb.debian.org_x", "package-cache"],
    ["var/lib/dpkg/info/libc6-dev:amd64.list", "build-package"],
    ["app/.vscode/settings.json", "editor-folder"],
    ["usr/lib/x86_64-linux-gnu/libc.a", "static-library", "ar"],
    ["opt/tools/gcc", "build-tool", "elf", 10, 0o755],
    ["opt/conda/include/zlib.h", "header"],
    ["usr/lib/x86_64-linux-gnu/pkgconfig/zlib.pc", "build-metadata"],
    ["usr/local/lib/cmake/x/x.cmake", "build-metadata"],
    ["usr/lib/gcc/x86_64-linux-gnu/12/cc1", "build-tool", "elf"],
    ["var/lib/dpkg/status.d/libssl-dev", "build-package"],
    ["app/.mypy_cache/3.11/x.json", "tool-cache"],
    ["home/me/.cache/uv/wheels-v5/x", "package-cache"],
    ["root/.cache/pnpm/metadata/x", "package-cache"],
    ["usr/local/share/.cache/yarn/v6/x", "package-cache"],
    ["root/.npm/_cacache/index-v5/x", "package-cache"],
    ["go/pkg/mod/cache/download/x", "package-cache"],
    ["usr/local/cargo/registry/index/x", "package-cache"],
    ["root/.m2/repository/x/x.jar", "package-cache", "zip"],
    ["root/.gradle/caches/x", "package-cache"],
    ["var/cache/apk/APKINDEX.tar.gz", "package-cache", "gzip"],
    ["var/cache/dnf/x.solv", "package-cache"],
    ["opt/conda/pkgs/x.conda", "package-cache", "zip"],
    ["root/.netrc", "credentials"],
    ["root/.pypirc", "credentials"],
    ["root/.git-credentials", "credentials"],
    ["home/me/.config/gh/hosts.yml", "credentials"],
    ["root/.npmrc", "credentials", "credentials"],
    ["root/.kube/config", "cloud-credentials"],
    ["etc/kubernetes/admin.conf", "credentials"],
    ["run/secrets/token", "credentials"],
    ["root/.ssh/id_ed25519", "private-key", "binary"],
    ["app/identity.p12", "private-key", "binary"],
    ["app/store", "private-key", "key-store"],
    // A secret is one wherever it lies.
    ["app/tests/tls.key", "private-key", "private-key"],
    ["usr/lib/python3/dist-packages/x/key.pem", "private-key", "private-key"],
    // A repository under another name.
    ["srv/repo/objects/pack/pack-1.pack", "vcs", "git-pack"],
    [`srv/repo/objects/ab/${"c".repeat(38)}`, "vcs", "binary"],
  ])("%s is a residue: %s", (path, kind, content, size, mode) => {
    expect(residuesOf([{ ...entry(path, content, size), ...(mode === undefined ? {} : { mode }) }])).toEqual([
      expect.objectContaining({ kind, layer: 0, hidden: false }),
    ])
  })
  test.each<[string, InventoryEntry["content"]?]>([
    ["app/server.py"],
    ["app/tests"],
    ["app/.gitignore"],
    ["app/.env.example"],
    ["usr/lib/python3/dist-packages/x/tests/test_x.py"],
    ["app/gcc"],
    ["app/make.py"],
    ["etc/ssl/certs/ca.pem", "pem"],
    ["app/.npmrc"],
    ["usr/share/pkgconfig/bash-completion.pc"],
    ["usr/lib/python3.11/site-packages/numpy/core/lib/libnpymath.a", "ar"],
    ["app/node_modules/x/tests/x.js"],
    ["lib/modules/6.1/x.ko", "elf-object"],
    ["opt/tools/gcc", "text"],
    ["usr/bin/foo-bar-make"],
    ["var/lib/app/lists/x"],
    ["app/id_rsa.pub"],
    ["var/lib/dpkg/info/libc6:amd64.list"],
  ])("%s is none", (path, content) => {
    expect(residuesOf([entry(path, content)])).toEqual([])
  })
  test("what a later layer deletes or replaces is still shipped", () => {
    const key = entry("app/tls.key", "private-key")
    for (const later of [
      entry("app/.wh.tls.key", "empty", 0),
      entry("app/.wh..wh..opq", "empty", 0),
      entry(".wh.app", "empty", 0),
      entry("app/tls.key"),
    ])
      expect(residuesOf([key], [later])).toEqual([
        expect.objectContaining({ path: "app/tls.key", layer: 0, hidden: true }),
      ])
    expect(residuesOf([entry("app/.wh.tls.key", "empty", 0)], [key])).toEqual([
      expect.objectContaining({ layer: 1, hidden: false }),
    ])
  })
  test("a hard link to a tool or a key, and a link in the place of a folder of secrets, are residues", () => {
    const link = (path: string, type: "hardlink" | "symlink", linkTarget: string): InventoryEntry => {
      const { sha256: _sha256, content: _content, ...rest } = entry(path, "text", 0)
      return { ...rest, type, linkTarget }
    }
    for (const [made, kind] of [
      [link("app/helper", "hardlink", "usr/bin/gcc-12"), "build-tool"],
      [link("app/x", "hardlink", "./root/.ssh/id_rsa"), "private-key"],
      [link("app/x", "hardlink", "/root/.netrc"), "credentials"],
      [link("usr/bin/cc", "symlink", "/etc/alternatives/cc"), "build-tool"],
      [link("root/.aws", "symlink", "/mnt/aws"), "cloud-credentials"],
      [link("app/.git", "symlink", "../repo"), "vcs"],
    ] as const)
      expect(residuesOf([made])).toEqual([expect.objectContaining({ kind, path: made.path, sha256: null })])
    expect(residuesOf([link("app/tests", "symlink", "/mnt/tests")])).toEqual([])
  })
  test("what a file or link in the place of its folder replaces is hidden", () => {
    expect(residuesOf([entry("app/x/tls.key", "private-key")], [entry("app/x")])).toEqual([
      expect.objectContaining({ path: "app/x/tls.key", hidden: true }),
    ])
  })
  test("states an instruction of any length within its schema", () => {
    const criterion = criteria.get("multi-stage-hygiene")
    const facts = criterion?.inspect?.(evidenceOf(imageOf([[entry(".git/x")]], "RUN ".repeat(5000))))
    const document = { criterion: "multi-stage-hygiene", revision: 1, facts }
    expect(schemaViolation("MultiStageHygieneObservation", document)).toBeUndefined()
  })
})

describe("declarations", () => {
  const resources = (text: string) => readDeclaration([{ path: "openenv.yaml", text }]).resources

  test("are read with their lines", () => {
    const { declared, line, problems } = resources("name: x\nvalidation:\n  resources:\n    cpu: 1.5\n    gpus: 0\n")
    expect({ declared, line, problems }).toEqual({
      declared: { cpu: { value: 1.5, line: 4 }, gpus: { value: 0, line: 5 } },
      line: 3,
      problems: [],
    })
  })
  test.each([
    ["nothing", ""],
    ["a list", "- x"],
    ["a scalar", "x"],
    ["broken YAML", "a: [\n"],
    ["a duplicate key", "validation:\n  resources:\n    cpu: 1\n    cpu: 2\n"],
    ["no validation", "name: x"],
    ["no resources", "validation: {}"],
    ["resources that are a list", "validation:\n  resources: [1]"],
    ["text for a number", "validation:\n  resources:\n    cpu: '1'"],
    ["infinity", "validation:\n  resources:\n    cpu: .inf"],
    ["no number", "validation:\n  resources:\n    cpu: .nan"],
    ["an alias that refers to nothing", "validation:\n  resources: *x\n"],
    ["a bomb of aliases", "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a]\nvalidation: *b\n"],
  ])("with %s give a problem and never an exception", (_, text) => {
    const facts = resources(text)
    expect(facts.problems.length).toBeGreaterThan(0)
    const document = { criterion: "resource-declarations", revision: 1, facts }
    expect(schemaViolation("ResourceDeclarationsObservation", document)).toBeUndefined()
  })
})
test("a residue is hidden by the layers after its own: deleted, replaced, or in an opaque folder", () => {
  const hiddenBy = (...later: string[]) =>
    residuesOf([entry("a/b/.env")], ...later.map(path => [entry(path)])).map(({ hidden }) => hidden)
  for (const path of ["a/b/.wh..env", "a/b/.env", "a/.wh.b", ".wh.a", "a/b/.wh..wh..opq", ".wh..wh..opq"])
    expect(hiddenBy("x", path, "y")[0], path).toBe(true)
  for (const path of ["a/.wh.c", "a/b/.env.local", "a/b/.env/.wh..wh..opq", ".wh.b", "b/.wh..wh..opq"])
    expect(hiddenBy("x", path, "y")[0], path).toBe(false)
  expect(residuesOf([entry("a/.wh.b")], [entry("a/b/.env")])[0]?.hidden).toBe(false)
})
