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

  it("logs lines, and the beginning of one that never ends", async () => {
    const lines: string[] = []
    const script = "process.stdout.write('a\\r\\n\\nb\\n' + 'c'.repeat(50000) + '\\nd')"
    await runProcess(node, ["-e", script], { ...options, log: { write: line => lines.push(line) } })
    expect([lines.length, lines[0], lines[1], lines[3]]).toEqual([4, "a", "b", "d"])
    expect(lines[2]).toMatch(/^c{4000,9000}…$/)
  })

  it("shows no half of a credential, wherever a long line is cut", async () => {
    const token = `ghp_${"A1b2C3d4E5f6G7h8I9j0"}`
    const script = "for (let n = 8140; n < 8200; n += 3) console.log('x'.repeat(n) + ' ' + process.argv[1])"
    const log = new BoundedLog()
    await runProcess(node, ["-e", script, token], { ...options, log })
    expect(log.text()).not.toContain("ghp_")
  })

  it("has a redacted tail, for messages", async () => {
    const script = "console.log('TOKEN=hunter2hunter2')"
    expect((await runProcess(node, ["-e", script], options)).tail).toEqual(["TOKEN=[redacted]"])
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
    ["ghp_A1b2C3\u200bd4E5f6G7h8I9j0", "[redacted]"],
    ["ghp_A1b2C3\ufe0fd4E5f6\u00adG7h8I9j0", "[redacted]"],
    ["pip install https://user:pa/ss@host/", "pip install https://[redacted]@host/"],
    ["glpat-abcdefghij0123456789", "[redacted]"],
    ["xoxb-123456789012-abcdefghijkl", "[redacted]"],
    ["npm_abcdefghijklmnopqrstuvwxyz0123456789", "[redacted]"],
    ["pypi-AgEIcHlwaS5vcmcCJGFiY2Q", "[redacted]"],
    ["AIzaSyA0123456789abcdefghijklmnopqrstuv", "[redacted]"],
    ["MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgevZzL1gdAFr88hb2", "[redacted]"],
    [`${"0123456789abcdef".repeat(4)}`, "0123456789abcdef".repeat(4)],
    ["at http://localhost:8000/a/b", "at http://localhost:8000/a/b"],
  ])("writes %j as %j", (line, expected) => expect(redactLine(line)).toBe(expected))

  it("never writes what it was told to keep", () => {
    expect(redactLine("the value is swordfish!", ["swordfish"])).toBe("the value is [redacted]!")
  })

  it("clips a line only after it is redacted", () => {
    for (let before = 4050; before < 4110; before += 7) {
      const line = `${"x".repeat(before)} ghp_A1b2C3d4E5f6G7h8I9j0 swordfish`
      expect(redactLine(line, ["swordfish"])).not.toMatch(/ghp_|sword/)
    }
  })

  it("takes a private key out, line by line, and then goes on", () => {
    const log = new BoundedLog()
    const key = [
      "x -----BEGIN EC PRIVATE KEY-----",
      "Proc-Type: 4,ENCRYPTED",
      "short",
      "-----END EC PRIVATE KEY----- y",
    ]
    for (const line of ["before", ...key, "after", "-----BEGIN PRIVATE KEY-----short-----END PRIVATE KEY-----"])
      log.write(line)
    expect(log.text()).toBe("before\nx [redacted]\n[redacted]\n[redacted]\n[redacted] y\nafter\n[redacted]\n")
  })

  it("is bounded, and says how much it left out", () => {
    const log = new BoundedLog({ limit: 100 })
    for (let i = 0; i < 50; i++) log.write("0123456789")
    expect(log.text()).toBe(`${"0123456789\n".repeat(9)}(41 more lines not kept)\n`)
  })
})
