// `npm run bench`: our cost as a ratio to a peer or a limit, both measured in this run, one after the other in turns.
// `--json` prints a line a figure; a name runs that figure alone. Needs what `npm run demo` leaves.
import { spawn } from "node:child_process"
import { createHash } from "node:crypto"
import { createReadStream, existsSync } from "node:fs"
import { cp, mkdtemp, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Writable } from "node:stream"
import { pipeline } from "node:stream/promises"
import { createGunzip } from "node:zlib"
import { inventoryImage, openOciLayout } from "../packages/oci/dist/index.js"
import { defaultCacheDir, ensureBaseImage } from "./base-image.ts"
import { findRuntime } from "./prerequisites.ts"

const root = join(import.meta.dirname, "..")

interface Figure {
  readonly name: string
  /** Our cost over theirs: below 1 is better. */
  readonly ratio: number
  readonly ours: number
  readonly theirs: number
  readonly unit: "s"
  readonly against: string
}

async function seconds(work: () => Promise<unknown>): Promise<number> {
  const started = performance.now()
  await work()
  return (performance.now() - started) / 1000
}

const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN

/** Both in turns, so that what else the machine does falls on both; the first turn only warms up. */
async function compare(
  name: string,
  against: string,
  turns: number,
  ours: () => Promise<unknown>,
  theirs: () => Promise<unknown>,
): Promise<Figure> {
  const own: number[] = []
  const other: number[] = []
  for (let turn = 0; turn <= turns; turn++) {
    const [a, b] = [await seconds(ours), await seconds(theirs)]
    if (turn > 0 || turns === 1) own.push(a)
    if (turn > 0 || turns === 1) other.push(b)
  }
  const [a, b] = [median(own), median(other)]
  const round = (value: number) => Number(value.toFixed(3))
  return { name, ratio: round(a / b), ours: round(a), theirs: round(b), unit: "s", against }
}

const layoutDirectory = join(root, "demo-out", "image")

/** Inventory of the example's layers, against the least that any reader must do: gunzip and one SHA-256. */
async function imageScan(): Promise<Figure> {
  if (!existsSync(layoutDirectory)) throw new Error("demo-out/image is not there: run npm run demo first")
  const layout = await openOciLayout(layoutDirectory)
  const bare = async () => {
    for (const { descriptor } of layout.layers) {
      const hash = createHash("sha256")
      const sink = new Writable({
        write(chunk: Buffer, _encoding, done) {
          hash.update(chunk)
          done()
        },
      })
      const blob = join(layoutDirectory, "blobs", ...descriptor.digest.split(":"))
      await pipeline(createReadStream(blob, { highWaterMark: 1_048_576 }), createGunzip({ chunkSize: 1_048_576 }), sink)
      hash.digest()
    }
  }
  return compare(
    "image-scan",
    "one bare Node gunzip and sha256 pass over the same layers",
    5,
    () => inventoryImage(layout),
    bare,
  )
}

function command(file: string, args: readonly string[], env: NodeJS.ProcessEnv = process.env): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, { cwd: root, env, stdio: ["ignore", "ignore", "pipe"] })
    let errors = ""
    child.stderr.on("data", (chunk: Buffer) => {
      errors = (errors + chunk.toString()).slice(-2000)
    })
    child.once("error", reject)
    child.once("close", code =>
      code === 0 ? resolve() : reject(new Error(`${file} ${args[0]} ended with ${code}: ${errors}`)),
    )
  })
}

async function untilReset(deadline: number): Promise<void> {
  for (;;) {
    try {
      await firstReset()
      return
    } catch (error) {
      if (performance.now() > deadline) throw error
      await new Promise(resolve => setTimeout(resolve, 50))
    }
  }
}

function firstReset(): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket("ws://127.0.0.1:8000/ws")
    socket.onerror = () => reject(new Error("no reset was answered on port 8000"))
    socket.onopen = () => socket.send('{"type":"reset","data":{"seed":1}}')
    socket.onmessage = () => {
      socket.close()
      resolve()
    }
  })
}

const CONTAINER = "envidence-bench"

/** By hand what emit does at least: two clean builds, an export, a start, a first reset. */
async function byHand(folder: string, env: NodeJS.ProcessEnv): Promise<void> {
  const podman = (...args: string[]) => command("podman", args, env)
  const tags = ["first", "second"].map(name => `localhost/envidence-bench-${name}`)
  try {
    for (const tag of tags)
      await podman(
        "build",
        "--no-cache",
        "--format=oci",
        "--timestamp=0",
        "--network=none",
        "--tag",
        tag,
        "--file",
        join(folder, "context/server/Dockerfile"),
        join(folder, "context"),
      )
    await podman("push", "--quiet", tags[0] ?? "", `oci:${join(folder, "layout")}`)
    await podman(
      "run",
      "--detach",
      "--name",
      CONTAINER,
      "--network=host",
      "--read-only",
      "--cap-drop=ALL",
      "--tmpfs=/tmp",
      "--no-healthcheck",
      tags[0] ?? "",
    )
    await untilReset(performance.now() + 60_000)
  } finally {
    await podman("rm", "--force", "--ignore", "--time=0", CONTAINER)
    await podman("rmi", "--force", ...tags)
    await rm(join(folder, "layout"), { recursive: true, force: true })
  }
}

async function emitOverhead(): Promise<Figure> {
  await ensureBaseImage({ log: () => {}, cacheDir: defaultCacheDir() })
  const folder = await mkdtemp(join(tmpdir(), "envidence-bench-"))
  try {
    await cp(join(root, "examples/parcel-sorting"), join(folder, "context"), { recursive: true })
    const conf = join(folder, "containers.conf")
    await writeFile(
      conf,
      `[containers]\ndefault_ulimits = ["nofile=1024:1024","nproc=1024:1024"]\n[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\nruntime = "${findRuntime() ?? "runc"}"\n`,
    )
    const env = { ...process.env, CONTAINERS_CONF: conf }
    const emit = [join(root, "packages/emit/bin/emit-evidence.js"), join(folder, "context")]
    const options = [
      "--policy",
      "demo",
      "--build-network",
      "none",
      "--no-sign",
      "--force",
      "--output",
      join(folder, "bundle.tar.gz"),
    ]
    const against = "the same two builds, export and run to the first reset by hand"
    return await compare(
      "emit-overhead",
      against,
      3,
      () => command(process.execPath, [...emit, ...options]),
      () => byHand(folder, env),
    )
  } finally {
    await rm(folder, { recursive: true, force: true })
  }
}

const figures: Readonly<Record<string, () => Promise<Figure>>> = {
  "image-scan": imageScan,
  "emit-overhead": emitOverhead,
}

const wanted = process.argv.slice(2).filter(arg => arg !== "--json")
for (const name of wanted.length > 0 ? wanted : Object.keys(figures)) {
  const measure = figures[name]
  if (measure === undefined) throw new Error(`there is no figure ${name}: ${Object.keys(figures).join(", ")}`)
  const figure = await measure()
  if (process.argv.includes("--json")) console.log(JSON.stringify(figure))
  else
    console.log(`${figure.name}: ${figure.ratio} (ours ${figure.ours} s, theirs ${figure.theirs} s, ${figure.against})`)
}
