import { BoundedLog, redactLine, runProcess } from "@envidence/emit"
import { describe, expect, it } from "vitest"

const node = process.execPath
const options = { env: {}, timeoutSeconds: 20 }

describe("a child process", () => {
  it("returns its output and its exit code, with nothing inherited", async () => {
    const script = "console.log(Object.keys(process.env).length); console.error('oops'); process.exitCode = 3"
    expect(await runProcess(node, ["-e", script], options)).toMatchObject({ exitCode: 3, stdout: "0\n" })
  })

  it("gets its arguments as they are", async () => {
    const hostile = "$(touch /tmp/x); `id` \"'\n"
    const { stdout } = await runProcess(node, ["-e", "process.stdout.write(process.argv[1])", hostile], options)
    expect(stdout).toBe(hostile)
  })

  it("that is not there has exit code 127", async () => {
    expect(await runProcess("/nonexistent/program", [], options)).toMatchObject({ exitCode: 127 })
  })

  it("is killed at its time limit", async () => {
    const started = performance.now()
    const run = runProcess(node, ["-e", "setTimeout(() => {}, 60000)"], { env: {}, timeoutSeconds: 0.3 })
    await expect(run).rejects.toMatchObject({ code: "engine-failed", message: expect.stringContaining("0.3 s") })
    expect(performance.now() - started).toBeLessThan(5000)
  })

  it("is killed when it writes more than it may", async () => {
    const script = "setInterval(() => process.stdout.write('x'.repeat(100000)), 1)"
    await expect(runProcess(node, ["-e", script], { ...options, outputBytes: 1_000_000 })).rejects.toMatchObject({
      code: "engine-failed",
      message: expect.stringContaining("more than it may"),
    })
  })

  it("ends when interrupted", async () => {
    const controller = new AbortController()
    const run = runProcess(node, ["-e", "setTimeout(() => {}, 60000)"], { ...options, signal: controller.signal })
    setTimeout(() => controller.abort(), 100)
    await expect(run).rejects.toMatchObject({ code: "interrupted" })
  })

  it("logs lines, and cuts one that never ends", async () => {
    const lines: string[] = []
    const script = "process.stdout.write('a\\r\\nb\\n' + 'c'.repeat(50000))"
    await runProcess(node, ["-e", script], { ...options, log: { write: line => lines.push(line) } }).then(
      result => result.tail,
    )
    expect(lines.slice(0, 2)).toEqual(["a", "b"])
    expect(lines.slice(2).join("").length).toBe(50_000)
    expect(lines.length).toBeGreaterThan(3)
  })
})

describe("a log", () => {
  it.each([
    ["authorization: Bearer abcdefgh12345678", "authorization: Bearer [redacted]"],
    ["pip install https://user:hunter22@host/simple", "pip install https://[redacted]@host/simple"],
    ["HF_TOKEN=hf_abcdefghijklmnopqrstuv", "HF_TOKEN=[redacted]"],
    ["export API_KEY='s3cr3t-value'", "export API_KEY='[redacted]'"],
    ["using ghp_0123456789abcdefghijABCD", "using [redacted]"],
    ["\u001b[31mred\u001b[0m \u202etxt\u0007", "red txt"],
    ["token counts: 12", "token counts: 12"],
  ])("writes %j as %j", (line, expected) => expect(redactLine(line)).toBe(expected))

  it("never writes what it was told to keep", () => {
    expect(redactLine("the value is swordfish!", ["swordfish"])).toBe("the value is [redacted]!")
  })

  it("is bounded, and says how much it left out", () => {
    const log = new BoundedLog({ limit: 100 })
    for (let i = 0; i < 50; i++) log.write("0123456789")
    expect(log.text()).toBe(`${"0123456789\n".repeat(9)}(41 more lines not kept)\n`)
  })
})
