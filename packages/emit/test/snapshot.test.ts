import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs"
import { hostname, tmpdir } from "node:os"
import { join } from "node:path"
import { machineSalt, takeSnapshot } from "@envidence/emit"
import { afterEach, beforeEach, describe, expect, it } from "vitest"

let state: string
beforeEach(() => {
  state = mkdtempSync(join(tmpdir(), "state-"))
})
afterEach(() => rmSync(state, { recursive: true, force: true }))

const take = (folder = state) => takeSnapshot({ env: { XDG_STATE_HOME: folder }, engine: null, nodeVersion: "v24" })

describe("a snapshot", () => {
  it("has one fingerprint on one machine, and another under another salt", async () => {
    const first = await take()
    expect((await take()).fingerprint).toBe(first.fingerprint)
    expect((await take(join(state, "other"))).fingerprint).not.toBe(first.fingerprint)
  })

  it("shows its class and hides what identifies it", async () => {
    const { fields } = await take()
    const values = Object.fromEntries(fields.map(field => [field.name, field]))
    expect(values["cpu.count"]).toMatchObject({ form: "plain", value: expect.any(Number) })
    expect(values["machine.hostname"]).toMatchObject({
      form: "hmac-sha256",
      value: expect.stringMatching(/^[0-9a-f]{64}$/),
    })
    expect(JSON.stringify(fields)).not.toContain(`"${hostname()}"`)
    for (const { source } of fields) expect(source).not.toBe("")
  })

  it("carries engine and runtime", async () => {
    const engine = { name: "podman", version: "4", runtime: { name: "runc", version: "1", path: "/r" } } as const
    const { fields } = await takeSnapshot({ env: { HOME: state }, engine, nodeVersion: "v24" })
    expect(fields).toContainEqual({ name: "runtime.path", value: "/r", source: "podman info", form: "plain" })
    expect(statSync(join(state, ".local/state/envidence/salt")).size).toBe(32)
  })
})

describe("the salt", () => {
  it("is readable by its owner alone, and made once by many at a time", async () => {
    const salts = await Promise.all(Array.from({ length: 20 }, () => machineSalt({ XDG_STATE_HOME: state })))
    const folder = join(state, "envidence")
    expect(new Set(salts.map(salt => Buffer.from(salt).toString("hex"))).size).toBe(1)
    expect(readdirSync(folder)).toEqual(["salt"])
    expect(statSync(join(folder, "salt")).mode & 0o777).toBe(0o600)
    expect(statSync(folder).mode & 0o777).toBe(0o700)
    expect(readFileSync(join(folder, "salt"))).toHaveLength(32)
  })

  it("is refused when others may read it, or when it is damaged", async () => {
    await machineSalt({ XDG_STATE_HOME: state })
    const path = join(state, "envidence", "salt")
    chmodSync(path, 0o644)
    await expect(machineSalt({ XDG_STATE_HOME: state })).rejects.toMatchObject({ code: "input-unreadable" })
    chmodSync(path, 0o600)
    writeFileSync(path, "short")
    await expect(machineSalt({ XDG_STATE_HOME: state })).rejects.toMatchObject({ code: "input-unreadable" })
  })

  it("says what to do where it can't be written", async () => {
    writeFileSync(join(state, "file"), "")
    await expect(machineSalt({ XDG_STATE_HOME: join(state, "file") })).rejects.toMatchObject({
      code: "input-unreadable",
      hint: expect.stringContaining("XDG_STATE_HOME"),
    })
  })
})
