import { execFileSync, spawn } from "node:child_process"
import { once } from "node:events"
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { setTimeout as pause } from "node:timers/promises"
import { buildImageView, readTranscript, traceDigests } from "@envidence/core"
import {
  BoundedLog,
  buildImage,
  defaultSourceDateEpoch,
  type Engine,
  environmentDefaults,
  hasSafeMounts,
  type Lab,
  type LabImage,
  measuredCriteria,
  openEngine,
} from "@envidence/emit"
import { inventoriesOf, inventoryImage, openOciLayout } from "@envidence/oci"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { writeNodeContext } from "./node-image.js"

const [reproducibleBuild, , seededDeterminism] = measuredCriteria
const modules = join(import.meta.dirname, "..", "..", "..", "node_modules")
const parent = mkdtempSync(join(tmpdir(), "lab-test-"))
const log = new BoundedLog()
const never = new AbortController().signal
const open = (signal = never) =>
  openEngine("podman", { parentDirectory: parent, env: process.env, nodePath: process.execPath, log, signal })

const opened = await open().catch((error: Error) => error)
const reason = opened instanceof Error ? opened.message : null
const engine = opened as Engine

const copier = (directory: string) => async (destination: string) => cpSync(directory, destination, { recursive: true })

const submission = {
  dockerfile: "Dockerfile",
  buildArgs: {},
  network: "none",
  sourceDateEpoch: defaultSourceDateEpoch,
} as const

async function inventory(layoutDirectory: string) {
  const layout = await openOciLayout(layoutDirectory)
  return buildImageView({ ...layout, layers: inventoriesOf(await inventoryImage(layout)) })
}

const buildFrom = (directory: string, own = engine, signal = never) =>
  buildImage({ engine: own, stage: copier(directory), log, signal, submission })

const labWith = (image: LabImage, more: Partial<Lab> = {}): Lab => ({
  ...{ engine, image, submission, inventory, log },
  environment: environmentDefaults,
  stage: () => Promise.reject(new Error("nothing to stage")),
  seeds: [1, 2, 3],
  signal: never,
  ...more,
})

type Measured<M> = Extract<M, { readonly facts: unknown }>

function measured<M extends object>(measurement: M): Measured<M> {
  if ("unmeasured" in measurement) throw new Error(String(measurement.unmeasured))
  return measurement as Measured<M>
}

function contextWith(name: string, files: Readonly<Record<string, string>>): string {
  const path = join(parent, name)
  mkdirSync(path)
  for (const [file, text] of Object.entries(files)) writeFileSync(join(path, file), text)
  return path
}

function processesWith(text: string): string[] {
  const pids = readdirSync("/proc").filter(name => /^\d+$/.test(name) && name !== String(process.pid))
  return pids.filter(pid => commandOf(pid).includes(text))
}

function commandOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "latin1")
  } catch {
    return ""
  }
}

async function expectNothingLeft(folder: string, command: string): Promise<void> {
  // conmon and the runtime end a moment after the container is gone.
  for (let i = 0; i < 20 && processesWith(folder).length + processesWith(command).length > 0; i++) await pause(100)
  expect([...processesWith(folder), ...processesWith(command)].map(commandOf)).toEqual([])
  expect(readFileSync("/proc/self/mountinfo", "utf8")).not.toContain(folder)
  expect(existsSync(folder)).toBe(false)
}

const buildahVersion = () =>
  execFileSync("podman", ["info", "--format={{.Host.BuildahVersion}}"], { encoding: "utf8" }).trim()

const SERVER = "/node\0/app/server.mjs"

afterAll(async () => {
  if (reason === null) await engine.close()
  // Opening removes what a failed test may have left mounted.
  if (reason === null) await (await open()).close()
  rmSync(parent, { recursive: true, force: true })
})

describe.skipIf(reason !== null)(
  `podman${reason === null ? "" : ` (skipped: ${reason})`}`,
  () => {
    const nodeContext = join(parent, "node-context")
    let image: LabImage

    beforeAll(async () => {
      writeNodeContext(nodeContext, modules)
      image = await buildFrom(nodeContext)
    }, 120_000)

    const observe = async (env: Record<string, string> = {}) =>
      measured(await seededDeterminism.measure(labWith(image, { environment: { ...environmentDefaults, env } })))

    it("builds the same image twice from copies with other file times", async () => {
      const context = contextWith("same", { file: "content", Dockerfile: "FROM scratch\nCOPY file /file\n" })
      const lab = labWith(await buildFrom(context), { stage: copier(context) })
      const { facts } = measured(await reproducibleBuild.measure(lab))
      expect(facts.builds).toHaveLength(2)
      expect(facts.builds[1]?.manifestDigest).toBe(facts.builds[0]?.manifestDigest)
      expect(facts).toMatchObject({ differences: [], omitted: 0, network: "none", engine: { name: "podman" } })
      expect(facts.flags).toContain(`--timestamp=${defaultSourceDateEpoch}`)
      expect(facts.flags.join(" ")).not.toContain(parent)
    })

    it("names what differs, with layer and instruction", async () => {
      const dockerfile = "FROM scratch\nCOPY same /same\nCOPY file /etc/file\n"
      const context = contextWith("differs", { same: "content", file: "first", Dockerfile: dockerfile })
      const first = await buildFrom(context)
      writeFileSync(join(context, "file"), "second")
      const { facts } = measured(await reproducibleBuild.measure(labWith(first, { stage: copier(context) })))
      expect(facts.differences.filter(({ layer }) => layer !== null)).toEqual([
        expect.objectContaining({
          layer: 1,
          path: expect.stringMatching(/etc\/file$/),
          cause: "content",
          instruction: expect.stringContaining("/etc/file"),
        }),
      ])
    })

    it("leaves a finished image's build unmeasured", async () => {
      expect(await reproducibleBuild.measure(labWith(image, { submission: null }))).toHaveProperty("unmeasured")
    })

    it("runs what it exported, and observes an environment that repeats", async () => {
      const reference = await engine.importLayout(image.layout, never)
      const { facts, artifacts } = measured(await seededDeterminism.measure(labWith({ ...image, reference })))
      expect(facts).toMatchObject({ differences: [], problems: [] })
      expect(facts.volatile).toEqual(["/data/metadata/time", "/data/observation/metadata/time"])
      expect(facts.runs).toHaveLength(12)
      expect(new Set(facts.runs.map(({ seed, trace }) => `${seed} ${trace}`)).size).toBe(3)
      expect(new Set(facts.runs.map(({ first }) => first)).size).toBe(3)
      expect(facts.runs.filter(({ container }) => container === 1).map(({ seed }) => seed)).toEqual([3, 2, 1])
      const transcript = readTranscript(artifacts[0]?.bytes ?? new Uint8Array(), "transcript")
      const digests = await Promise.all(transcript.map(traceDigests))
      expect(digests).toEqual(facts.runs.map(({ first, trace }) => ({ first, trace })))
    })

    it.each(["session", "reset", "container"])("finds an observation that varies with the %s", async FAULT => {
      const { facts } = await observe({ FAULT })
      expect(facts.problems).toEqual([])
      expect(facts.differences[0]).toMatchObject({ frame: 0, pointer: "/data/observation/n" })
    })

    it("shows that a seed changes nothing", async () => {
      const { facts } = await observe({ FAULT: "seedless" })
      expect(new Set(facts.runs.map(({ first }) => first)).size).toBe(1)
    })

    it("makes data of an environment that does not start, dies, or gives no reward", async () => {
      expect((await observe({ FAULT: "exit" })).facts.problems).toEqual([
        { code: "container-exited", because: expect.stringContaining("asset missing") },
      ])
      expect((await observe({ FAULT: "dies" })).facts).toMatchObject({
        runs: [],
        problems: [{ code: "container-exited", because: expect.stringContaining("out of parcels") }],
      })
      expect((await observe({ FAULT: "null" })).facts.problems.map(({ code }) => code)).toEqual(["null-reward"])
    })

    it("gives a container no network, no rights and no writable root", async () => {
      const { port, env, memoryMegabytes, processes } = environmentDefaults
      const request = { port, env, memoryMegabytes, processes, user: "65532:65532", log, signal: never }
      const container = await engine.run(image.reference, request)
      try {
        const inside = `/proc/${processesWith(SERVER)[0]}`
        const status = readFileSync(`${inside}/status`, "utf8")
        expect(status).toMatch(/^Uid:\s+65532\s/m)
        expect(status).toMatch(/^CapBnd:\s+0+$/m)
        expect(status).toMatch(/^NoNewPrivs:\s+1$/m)
        expect(readFileSync(`${inside}/net/dev`, "utf8").match(/\w+(?=:)/g)).toEqual(["lo"])
        expect(readFileSync(`${inside}/mounts`, "utf8")).toMatch(/^\S+ \/ overlay ro,/m)
        expect(container.isRunning()).toBe(true)
      } finally {
        await container.stop()
      }
      expect(container.isRunning()).toBe(false)
      expect(existsSync(container.socketPath)).toBe(false)
      expect(processesWith(container.socketPath)).toEqual([])
      await container.stop()
    })

    it("leaves nothing of an interrupted build", async () => {
      const controller = new AbortController()
      const own = await open(controller.signal)
      const context = join(parent, "hangs")
      cpSync(nodeContext, context, { recursive: true })
      writeFileSync(
        join(context, "Dockerfile"),
        'FROM scratch\nCOPY root /\nRUN ["/node", "-e", "setInterval(() => {}, 99)"]\n',
      )
      const build = buildFrom(context, own, controller.signal)
      build.catch(() => {})
      while (processesWith("setInterval(() => {}, 99)").length === 0) await pause(100)
      controller.abort()
      await expect(build).rejects.toMatchObject({ code: "interrupted" })
      await own.close()
      await expectNothingLeft(join(own.workDirectory, ".."), "setInterval(() => {}, 99)")
    })

    it("leaves nothing of an interrupted run", async () => {
      const controller = new AbortController()
      const own = await open(controller.signal)
      const reference = await own.importLayout(image.layout, never)
      const environment = { ...environmentDefaults, port: 8001 }
      const lab = labWith({ ...image, reference }, { engine: own, environment, signal: controller.signal })
      const run = seededDeterminism.measure(lab)
      run.catch(() => {})
      while (processesWith("forwarder.js").length === 0) await pause(50)
      controller.abort()
      await expect(run).rejects.toMatchObject({ code: "interrupted" })
      await own.close()
      await expectNothingLeft(join(own.workDirectory, ".."), SERVER)
    })

    it("removes what a killed run left behind, at the next one", async () => {
      const script = `
      import { BoundedLog, openEngine } from "@envidence/emit"
      const [parentDirectory, layout] = process.argv.slice(1)
      const signal = new AbortController().signal
      const log = new BoundedLog()
      const engine = await openEngine("podman", { parentDirectory, env: process.env, nodePath: process.execPath, log, signal })
      const request = { port: 8000, env: {}, memoryMegabytes: 512, processes: 64, user: "65532:65532", log, signal }
      await engine.run(await engine.importLayout(layout, signal), request)
      console.log(engine.workDirectory)
      setInterval(() => {}, 1000)`
      const args = ["--input-type=module", "--eval", script, parent, image.layout]
      const child = spawn(process.execPath, args, {
        cwd: join(import.meta.dirname, ".."),
        stdio: ["ignore", "pipe", "inherit"],
      })
      const [output] = await Promise.race([once(child.stdout, "data"), once(child, "exit")])
      const folder = join(String(output).trim(), "..")
      child.kill("SIGKILL")
      await once(child, "exit")
      expect(processesWith(SERVER)).toHaveLength(1)
      await (await open()).close()
      await expectNothingLeft(folder, SERVER)
      expect(existsSync(engine.workDirectory)).toBe(true)
    })

    // A child of the lab must not end the program on a signal that the program handles itself.
    it("leaves a program that is interrupted the time to clean up", async () => {
      const script = `
      import { BoundedLog, buildImage, openEngine } from "@envidence/emit"
      import { cpSync } from "node:fs"
      const [parentDirectory, context] = process.argv.slice(1)
      const interruption = new AbortController()
      process.once("SIGINT", () => interruption.abort())
      const { signal } = interruption
      const log = new BoundedLog()
      const engine = await openEngine("podman", { parentDirectory, env: process.env, nodePath: process.execPath, log, signal })
      console.log(engine.workDirectory)
      const stage = async destination => cpSync(context, destination, { recursive: true })
      const submission = { dockerfile: "Dockerfile", buildArgs: {}, network: "none", sourceDateEpoch: 0 }
      const code = await buildImage({ engine, stage, log, signal, submission }).catch(error => error.code)
      await engine.close()
      process.exitCode = code === "interrupted" ? 7 : 1`
      const context = join(parent, "hangs-too")
      cpSync(nodeContext, context, { recursive: true })
      const dockerfile = 'FROM scratch\nCOPY root /\nRUN ["/node", "-e", "setInterval(() => {}, 98)"]\n'
      writeFileSync(join(context, "Dockerfile"), dockerfile)
      const args = ["--input-type=module", "--eval", script, parent, context]
      // A group of its own, and the signal to all of it, as a terminal sends it.
      const cwd = join(import.meta.dirname, "..")
      const child = spawn(process.execPath, args, { cwd, stdio: ["ignore", "pipe", "inherit"], detached: true })
      const [output] = await Promise.race([once(child.stdout, "data"), once(child, "exit")])
      while (processesWith("setInterval(() => {}, 98)").length === 0) await pause(100)
      process.kill(-(child.pid ?? 0), "SIGINT")
      expect(await once(child, "exit")).toEqual([7, null])
      await expectNothingLeft(join(String(output).trim(), ".."), "setInterval(() => {}, 98)")
    })

    const buildWith = (name: string, dockerfile: string) => buildFrom(contextWith(name, { Dockerfile: dockerfile }))

    it("says which step of a Dockerfile fails, and its last lines, without paths of the lab", async () => {
      const failure = await buildWith("fails", "FROM scratch\nCOPY gone /\n").catch((error: Error) => error)
      expect(failure).toMatchObject({ code: "build-failed", hint: expect.stringContaining("--verbose") })
      expect(String(failure)).toMatch(/Dockerfile does not build at COPY gone \/: .*no such file/)
      expect(String(failure)).not.toContain(parent)
      const context = join(parent, "fails-in-run")
      cpSync(nodeContext, context, { recursive: true })
      const script = "console.log('one'); console.error('two'); process.exit(9)"
      writeFileSync(join(context, "Dockerfile"), `FROM scratch\nCOPY root /\nRUN ["/node", "-e", "${script}"]\n`)
      await expect(buildFrom(context)).rejects.toMatchObject({
        code: "build-failed",
        message: expect.stringMatching(/at RUN .*exit status 9; its last lines: (one \| two|two \| one)$/),
      })
    })

    it("says what is no Dockerfile, in one line and without the builder's structures", async () => {
      for (const [index, text] of ["FROM scratch\nFOO bar\n", "RUN x\n", "FROM scratch\nENV foo\n", ""].entries()) {
        const failure = await buildWith(`syntax-${index}`, text).catch((error: Error) => error)
        expect(failure).toMatchObject({ code: "build-failed" })
        expect(String(failure)).not.toMatch(/imagebuilder|\n|undefined/)
      }
    })

    it("names a base image that is nowhere, and how to make the examples' own", async () => {
      const message = expect.stringContaining("localhost/no-such-base:1 is not on this machine and no registry gave it")
      await expect(buildWith("baseless", "FROM localhost/no-such-base:1\n")).rejects.toMatchObject({
        code: "build-failed",
        message,
      })
    }, 90_000)

    describe("refuses a build that reaches this machine's files:", () => {
      const host = join(parent, "host")
      beforeAll(() => {
        mkdirSync(host)
        writeFileSync(join(host, "secret"), "HOSTSECRET")
      })
      const withLink = (name: string, dockerfile: string, target = host) => {
        const context = contextWith(name, { Dockerfile: dockerfile, file: "" })
        symlinkSync(target, join(context, "link"))
        mkdirSync(join(context, "folder"))
        symlinkSync("/etc/hosts", join(context, "folder", "absolute"))
        return buildFrom(context)
      }
      const refused = { code: "invalid-submission", hint: expect.any(String) }

      it("a mount of a link in the context that leads out of it", async () => {
        const mount = "FROM scratch\nCOPY file /\nRUN --mount=type=bind,source=link,target=/m,ro true\n"
        await expect(withLink("mounts-link", mount)).rejects.toMatchObject({
          ...refused,
          message: expect.stringContaining("leads out of the build context"),
        })
        await expect(withLink("mounts-up", mount, "../host")).rejects.toMatchObject(refused)
      })

      it("a list of ignored files that is a link", async () => {
        const context = contextWith("ignore-link", { Dockerfile: "FROM scratch\nCOPY Dockerfile /\n" })
        symlinkSync(join(host, "secret"), join(context, ".containerignore"))
        await expect(buildFrom(context)).rejects.toMatchObject(refused)
      })

      it("a base image whose name follows what the engine adds", async () => {
        if (hasSafeMounts(buildahVersion())) return
        const text = "ARG SOURCE_DATE_EPOCH=ratch\nFROM sc$SOURCE_DATE_EPOCH\nCOPY Dockerfile /\n"
        await expect(buildWith("epoch-base", text)).rejects.toMatchObject({
          code: "build-failed",
          message: expect.stringContaining(`sc${defaultSourceDateEpoch}`),
        })
      })

      it("but copies such a link as a link", async () => {
        expect((await withLink("copies-link", "FROM scratch\nCOPY folder /folder\n")).diffIds).toHaveLength(1)
      })

      it("by a base image's ONBUILD, which no Dockerfile shows", async () => {
        const base = "localhost/envidence-onbuild-test"
        const context = contextWith("onbuild", {
          Dockerfile:
            "FROM scratch\nCOPY Dockerfile /\nONBUILD RUN --mount=type=bind,from=x,source=/l,target=/m true\n",
        })
        execFileSync("podman", ["build", "--quiet", "--format=docker", "--runtime=runc", "--tag", base, context])
        try {
          const outcome = buildWith("on-onbuild", `FROM ${base}\n`).catch((error: Error) => error)
          expect(await outcome).toMatchObject({ code: expect.stringMatching(/invalid-submission|build-failed/) })
          if (!hasSafeMounts(buildahVersion())) expect(await outcome).toMatchObject(refused)
        } finally {
          execFileSync("podman", ["rmi", "--force", base])
        }
      })
    })
  },
  60_000,
)

describe("engines", () => {
  const options = { parentDirectory: parent, nodePath: process.execPath, log, signal: never }

  it("that are not driven yet are refused", async () => {
    await expect(openEngine("docker", { ...options, env: {} })).rejects.toMatchObject({ code: "usage" })
  })

  it("that are not there say what to install", async () => {
    const absent = openEngine("podman", { ...options, env: { PATH: "/nonexistent" } })
    await expect(absent).rejects.toMatchObject({
      code: "engine-failed",
      hint: expect.stringContaining("apt-get install"),
    })
  })
})
