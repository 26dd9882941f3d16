// Programs of others, built from their Go modules once per machine, outside the checkout.
import { spawnSync } from "node:child_process"
import { existsSync, mkdirSync, renameSync, rmSync } from "node:fs"
import { join } from "node:path"
import { defaultCacheDir } from "../../scripts/base-image.ts"
import { findProgram } from "../../scripts/prerequisites.ts"

export interface GoProgram {
  readonly name: string
  readonly version: string
  /** The package that `go install` builds. */
  readonly module: string
}

const BUILD_TIMEOUT_MS = 900_000

/**
 * The program, or why there is none. Only `npm run test:lab` builds one that is not there, which takes minutes; all other
 * runs use what it left.
 */
export function findGoProgram({
  name,
  version,
  module,
}: GoProgram): { readonly program: string } | { readonly missing: string } {
  const folder = join(defaultCacheDir(), "tools", `${name}-${version}`)
  const program = join(folder, name)
  if (existsSync(program)) return { program }
  if (process.env.ENVIDENCE_LAB_TOOLS !== "build")
    return { missing: `${name} ${version}, which npm run test:lab builds` }
  const go = findProgram("go") ?? ["/usr/local/go/bin/go"].find(existsSync)
  if (go === undefined) return { missing: "Go" }
  return build(go, `${module}@v${version}`, folder)
    ? { program }
    : { missing: `${name} ${version} from the module proxy` }
}

function build(go: string, target: string, folder: string): boolean {
  const partial = `${folder}.partial-${process.pid}`
  mkdirSync(partial, { recursive: true })
  try {
    const env = { ...process.env, GOBIN: partial, CGO_ENABLED: "0" }
    const options = { env, cwd: partial, stdio: "ignore", timeout: BUILD_TIMEOUT_MS } as const
    const { status } = spawnSync(go, ["install", "-trimpath", target], options)
    // Another test run may have been faster: then its program stays.
    if (status === 0 && !existsSync(folder)) renameSync(partial, folder)
    return status === 0
  } finally {
    rmSync(partial, { recursive: true, force: true })
  }
}
