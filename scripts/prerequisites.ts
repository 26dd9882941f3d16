// What the demo needs from the machine beside Node: an engine, and the tools that make the examples' base image.
import { spawnSync } from "node:child_process"
import { accessSync, constants, existsSync, readFileSync } from "node:fs"
import { delimiter, join } from "node:path"

interface Prerequisite {
  readonly what: string
  readonly why: string
  readonly debianPackage: string
  readonly present: () => boolean
}

const DEBIAN_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

const prerequisites: readonly Prerequisite[] = [
  {
    what: "podman",
    why: "builds and runs the environment's image",
    debianPackage: "podman",
    present: () => findProgram("podman") !== undefined,
  },
  {
    what: "an OCI runtime (runc or crun)",
    why: "starts the containers",
    debianPackage: "runc",
    present: () => findRuntime() !== undefined,
  },
  {
    what: "mmdebstrap",
    why: "makes the example's base image out of Debian packages",
    debianPackage: "mmdebstrap",
    present: () => findProgram("mmdebstrap") !== undefined,
  },
  {
    what: "Debian's archive keys",
    why: "check the signatures of those packages",
    debianPackage: "debian-archive-keyring",
    present: () => existsSync(DEBIAN_KEYRING),
  },
  {
    what: "python3 with pip",
    why: "downloads the example's Python wheels",
    debianPackage: "python3-pip",
    present: () => findPythonWithPip() !== undefined,
  },
  {
    what: "nsenter",
    why: "reaches a container that has no network",
    debianPackage: "util-linux",
    present: () => findProgram("nsenter") !== undefined,
  },
]

/**
 * Makes sure that the machine has what the demo needs. As root on Debian or Ubuntu it installs what is missing by apt,
 * after one line that says what and why. Elsewhere it prints what to install and exits with 1. Returns whether all was
 * there already.
 */
export function ensurePrerequisites(): boolean {
  const missing = prerequisites.filter(({ present }) => !present())
  if (missing.length === 0) return true
  if (!mayInstall()) stop(missing, "Missing on this machine:")
  const reasons = missing.map(({ debianPackage, why }) => `${debianPackage} (${why})`).join(", ")
  console.error(`Installing by apt-get, as root: ${reasons}. About half a minute.`)
  install(missing.map(({ debianPackage }) => debianPackage))
  const stillMissing = missing.filter(({ present }) => !present())
  if (stillMissing.length > 0) stop(stillMissing, "apt-get did not bring:")
  return false
}

/** The absolute path of a program, searched in PATH and then where Debian keeps root's programs. */
export function findProgram(name: string): string | undefined {
  const folders = [...(process.env.PATH ?? "").split(delimiter), "/usr/sbin", "/sbin"]
  return folders.map(folder => join(folder, name)).find(isExecutable)
}

/** crun refuses hybrid and v1 cgroups; with cgroup v2 it is the faster of the two. */
export function findRuntime(): "crun" | "runc" | undefined {
  const preference = existsSync("/sys/fs/cgroup/cgroup.controllers") ? (["crun", "runc"] as const) : (["runc"] as const)
  return preference.find(name => findProgram(name) !== undefined)
}

/** Any Python will do, a version manager's too: the wheels are chosen for the image's Python, not for this one. */
export function findPythonWithPip(): string | undefined {
  return ["python3", "/usr/bin/python3"].find(
    python => spawnSync(python, ["-m", "pip", "--version"], { stdio: "ignore" }).status === 0,
  )
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK)
    return true
  } catch {
    return false
  }
}

function mayInstall(): boolean {
  return process.getuid?.() === 0 && findProgram("apt-get") !== undefined && isDebianLike()
}

function isDebianLike(): boolean {
  try {
    return /^(ID|ID_LIKE)=.*\b(debian|ubuntu)\b/m.test(readFileSync("/etc/os-release", "utf8"))
  } catch {
    return false
  }
}

function install(packages: readonly string[]): void {
  apt(["update", "--quiet"])
  apt(["install", "--yes", "--quiet", "--no-install-recommends", ...packages])
}

function apt(args: readonly string[]): void {
  const env = { ...process.env, DEBIAN_FRONTEND: "noninteractive" }
  const { status, stdout, stderr } = spawnSync("apt-get", args, { env, encoding: "utf8" })
  if (status === 0) return
  console.error(`${stdout ?? ""}${stderr ?? ""}`.trim().split("\n").slice(-20).join("\n"))
  console.error(`apt-get ${args[0]} failed (exit ${status}).`)
  process.exit(1)
}

function stop(missing: readonly Prerequisite[], headline: string): never {
  console.error(headline)
  for (const { what, why } of missing) console.error(`  ${what}: ${why}`)
  const packages = missing.map(({ debianPackage }) => debianPackage).join(" ")
  console.error(`On Debian or Ubuntu: sudo apt-get install --no-install-recommends ${packages}`)
  process.exit(1)
}

if (import.meta.main) ensurePrerequisites()
