// syft itself, the peer of the SBOM: built once per machine from its module.
import { spawnSync } from "node:child_process"
import { existsSync, mkdirSync, renameSync, rmSync } from "node:fs"
import { join } from "node:path"
import { PackageURL } from "packageurl-js"
import { defaultCacheDir } from "../../scripts/base-image.ts"
import { findProgram } from "../../scripts/prerequisites.ts"

const VERSION = "1.51.0"
const BUILD_TIMEOUT_MS = 900_000
const RUN_TIMEOUT_MS = 120_000

/** The program, or why there is none. */
export function findSyft(): { readonly program: string } | { readonly missing: string } {
  const program = join(defaultCacheDir(), "tools", `syft-${VERSION}`, "syft")
  if (existsSync(program)) return { program }
  const go = findProgram("go") ?? ["/usr/local/go/bin/go"].find(existsSync)
  if (go === undefined) return { missing: "no Go" }
  return build(go, program) ? { program } : { missing: `no syft ${VERSION} from the module proxy` }
}

function build(go: string, program: string): boolean {
  const partial = join(defaultCacheDir(), "tools", `partial-syft-${process.pid}`)
  mkdirSync(partial, { recursive: true })
  try {
    const { status } = spawnSync(go, ["install", "-trimpath", `github.com/anchore/syft/cmd/syft@v${VERSION}`], {
      env: { ...process.env, GOBIN: partial, CGO_ENABLED: "0" },
      cwd: partial,
      stdio: "ignore",
      timeout: BUILD_TIMEOUT_MS,
    })
    // Another test run may have been faster: then its program stays.
    if (status === 0 && !existsSync(program)) renameSync(partial, join(program, ".."))
    return status === 0
  } finally {
    rmSync(partial, { recursive: true, force: true })
  }
}

/** Package URLs of what syft finds in an image layout, but for the qualifiers that only describe. */
export function runSyft(program: string, layout: string): string[] {
  const { status, stdout, stderr } = spawnSync(program, [`oci-dir:${layout}`, "--output", "json", "--quiet"], {
    encoding: "utf8",
    env: { ...process.env, SYFT_CHECK_FOR_APP_UPDATE: "false" },
    maxBuffer: 512 * 1024 ** 2,
    timeout: RUN_TIMEOUT_MS,
  })
  if (status !== 0) throw new Error(`syft ended with ${status}: ${stderr}`)
  const { artifacts } = JSON.parse(stdout) as { artifacts: readonly { readonly purl: string }[] }
  return distinct(artifacts.map(({ purl }) => purl))
}

const TYPES: ReadonlySet<string> = new Set(["apk", "cargo", "deb", "golang", "npm", "pypi", "rpm"])

/** Each package once, of the ecosystems that both read. The distribution and the source package only describe. */
export function distinct(purls: readonly string[]): string[] {
  const plain = purls.filter(purl => purl !== "").map(purl => PackageURL.fromString(purl))
  return [...new Set(plain.filter(({ type }) => TYPES.has(type)).map(essence))].sort()
}

function essence({ type, namespace, name, version, qualifiers }: PackageURL): string {
  const { arch, epoch } = qualifiers ?? {}
  return [type, namespace, name, version, arch, epoch].filter(part => typeof part === "string").join(" ")
}
