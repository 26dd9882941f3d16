// syft itself, the peer of the SBOM: built once per machine from its module.
import { spawnSync } from "node:child_process"
import { PackageURL } from "packageurl-js"
import { findGoProgram } from "./go-program.ts"

const VERSION = "1.51.0"
const RUN_TIMEOUT_MS = 120_000

/** The program, or why there is none. */
export const findSyft = () =>
  findGoProgram({ name: "syft", version: VERSION, module: "github.com/anchore/syft/cmd/syft" })

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
