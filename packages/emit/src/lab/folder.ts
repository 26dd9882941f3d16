import { lstat, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises"
import { userInfo } from "node:os"
import { join } from "node:path"
import { EvidenceError } from "@envidence/core"
import type { Log } from "./log.js"
import { runProcess } from "./process.js"

/**
 * A lab's folder: everything that an engine makes for one run lies in it (configuration, image storage, runtime state,
 * sockets), so that removing the folder removes all of it, even what a killed run left behind.
 */
export interface LabFolder {
  readonly path: string
  /** The environment in which every program of the lab runs. */
  readonly env: Readonly<Record<string, string>>
  readonly paths: FolderPaths
}

interface FolderPaths {
  readonly containersConf: string
  readonly storageConf: string
  readonly storage: string
  readonly runRoot: string
  readonly libpod: string
  readonly runtimeState: string
  readonly temporary: string
  readonly sockets: string
  readonly work: string
}

const PREFIX = "envidence-lab-"
// sun_path holds 108 bytes with its final zero (unix(7)); a socket's name below the folder takes up to 24.
const PATH_BYTES = 80

/** Makes the folder under `parent`, after removing folders there whose run was killed. Linux only. */
export async function openFolder(
  parent: string,
  env: Readonly<Record<string, string | undefined>>,
  log: Log,
): Promise<LabFolder> {
  await removeAbandonedFolders(parent, env, log)
  const path = await mkdtemp(join(parent, PREFIX))
  if (Buffer.byteLength(path) > PATH_BYTES) {
    await rm(path, { recursive: true })
    throw new EvidenceError("usage", `${parent} is too long for sockets below it`, { hint: "choose a shorter folder" })
  }
  const folder = describeFolder(path, env)
  const { containersConf: _, storageConf: __, ...directories } = folder.paths
  for (const directory of Object.values(directories)) await mkdir(directory, { recursive: true, mode: 0o700 })
  await writeFile(join(path, "owner.json"), JSON.stringify(await ownIdentity()))
  return folder
}

function describeFolder(path: string, env: Readonly<Record<string, string | undefined>>): LabFolder {
  const paths = {
    containersConf: join(path, "containers.conf"),
    storageConf: join(path, "storage.conf"),
    storage: join(path, "storage"),
    runRoot: join(path, "run"),
    libpod: join(path, "libpod"),
    runtimeState: join(path, "runtime"),
    temporary: join(path, "tmp"),
    sockets: join(path, "s"),
    work: join(path, "work"),
  }
  return { path, paths, env: { ...inheritedVariables(env), ...labVariables(paths) } }
}

const labVariables = (paths: FolderPaths) => ({
  CONTAINERS_CONF: paths.containersConf,
  CONTAINERS_STORAGE_CONF: paths.storageConf,
  TMPDIR: paths.temporary,
  LC_ALL: "C.UTF-8",
})

// The engine needs these; nothing else of the contributor's environment reaches a child.
const INHERITED = /^(PATH|HOME|USER|LOGNAME|XDG_RUNTIME_DIR|DBUS_SESSION_BUS_ADDRESS|https?_proxy|no_proxy)$/i

function inheritedVariables(env: Readonly<Record<string, string | undefined>>): Record<string, string> {
  const kept = Object.entries(env).filter((entry): entry is [string, string] => INHERITED.test(entry[0]) && !!entry[1])
  return { PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", ...Object.fromEntries(kept) }
}

const CLEANUP_SECONDS = 60

/** Removes all that the lab made. Never throws: what can't be removed is written to the log. */
export async function removeFolder({ path, paths, env }: LabFolder, log: Log): Promise<void> {
  const attempt = async (what: string, action: () => Promise<unknown>) => {
    try {
      await action()
    } catch (error) {
      log.write(`cleaning up: ${what}: ${error instanceof Error ? error.message : String(error)}`)
    }
  }
  const run = (file: string, args: readonly string[]) =>
    runProcess(file, args, { env, timeoutSeconds: CLEANUP_SECONDS })
  // All containers of this storage are the lab's own.
  await attempt("containers", () => run("podman", ["rm", "--all", "--force", "--time", "0", "--volumes"]))
  // A killed build leaves its RUN step running, and podman does not know of it: the runtime does.
  await attempt("build steps", () => deleteRuntimeContainers(paths.runtimeState, run))
  await attempt("mounts", () => unmountBelow(path, run))
  await attempt("folder", () => deleteFolder(path, run))
}

type Run = (file: string, args: readonly string[]) => Promise<unknown>

async function deleteRuntimeContainers(state: string, run: Run): Promise<void> {
  for (const runtime of await readdir(state))
    for (const id of await readdir(join(state, runtime)))
      await run(runtime, ["--root", join(state, runtime), "delete", "--force", id])
}

async function unmountBelow(path: string, run: Run): Promise<void> {
  const points = await mountPointsBelow(path)
  for (const point of points.sort((a, b) => b.length - a.length)) await run("umount", ["--lazy", "--", point])
}

async function mountPointsBelow(path: string): Promise<string[]> {
  const table = await readFile("/proc/self/mountinfo", "utf8")
  const points = table.split("\n").map(line => line.split(" ")[4] ?? "")
  return points.map(unescapeMountPoint).filter(point => point.startsWith(`${path}/`))
}

// proc(5): space, tab, newline and backslash are written as octal escapes.
const unescapeMountPoint = (text: string) =>
  text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)))

async function deleteFolder(path: string, run: Run): Promise<void> {
  const mounted = await mountPointsBelow(path)
  // Deleting through a mount would delete what is mounted.
  if (mounted.length > 0) throw new Error(`${path} stays: ${mounted.length} mounts below it could not be undone`)
  try {
    await rm(path, { recursive: true, force: true, maxRetries: 3 })
  } catch (error) {
    if (userInfo().uid === 0) throw error
    // Rootless, files of an image belong to other users of the user's own namespace.
    await run("podman", ["unshare", "rm", "-rf", "--one-file-system", "--", path])
  }
}

interface Identity {
  readonly pid: number
  /** Clock ticks from boot to the start of the process: with the boot's id, no later process has the same. */
  readonly started: string
  readonly boot: string
}

async function ownIdentity(): Promise<Identity> {
  const stat = await readFile("/proc/self/stat", "utf8")
  return identityOf(Number.parseInt(stat, 10), stat)
}

async function identityOf(pid: number, stat: string): Promise<Identity> {
  const boot = (await readFile("/proc/sys/kernel/random/boot_id", "utf8")).trim()
  // The command's name, in parentheses, may hold spaces: fields are counted from behind it (proc(5), field 22).
  const started = stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? ""
  return { pid, started, boot }
}

async function removeAbandonedFolders(
  parent: string,
  env: Readonly<Record<string, string | undefined>>,
  log: Log,
): Promise<void> {
  const names = (await readdir(parent)).filter(name => name.startsWith(PREFIX))
  for (const path of names.map(name => join(parent, name)))
    if (await isAbandoned(path)) await removeFolder(describeFolder(path, env), log)
}

async function isAbandoned(path: string): Promise<boolean> {
  try {
    const { uid, mode } = await lstat(path)
    const isDirectory = (mode & 0o170000) === 0o040000
    // The parent may be world-writable: another user's folder of that name would be run with our rights.
    if (!isDirectory || uid !== userInfo().uid || (mode & 0o077) !== 0) return false
    const owner = JSON.parse(await readFile(join(path, "owner.json"), "utf8")) as Identity
    return !(await isAlive(owner))
  } catch {
    return false
  }
}

async function isAlive(owner: Identity): Promise<boolean> {
  try {
    const now = await identityOf(owner.pid, await readFile(`/proc/${owner.pid}/stat`, "utf8"))
    return now.started === owner.started && now.boot === owner.boot
  } catch {
    return false
  }
}
