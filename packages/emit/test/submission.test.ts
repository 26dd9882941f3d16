import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { stageSubmission } from "@envidence/emit"
import { afterEach, beforeEach, describe, expect, it } from "vitest"

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "submission-"))
  mkdirSync(join(folder, "in", "server"), { recursive: true })
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

function stage(dockerfile: string, file = "server/Dockerfile") {
  writeFileSync(join(folder, "in", file), "FROM scratch\n")
  writeFileSync(
    join(folder, "in", "openenv.yaml"),
    `validation: {execution: {dockerfile: ${JSON.stringify(dockerfile)}}}\n`,
  )
  return stageSubmission(join(folder, "in"), join(folder, "out"))
}

describe("the declared Dockerfile", () => {
  it.each(["server/Dockerfile", "./server/Dockerfile", "server//./Dockerfile"])("%s is one path", async declared => {
    expect((await stage(declared)).dockerfile).toBe("server/Dockerfile")
  })

  it.each(["../in/server/Dockerfile", "server/../server/Dockerfile", "/etc/hosts", "-", ""])(
    "%j is refused",
    async declared => expect(stage(declared)).rejects.toMatchObject({ code: "invalid-submission" }),
  )

  it.each(["server/Dockerfile.in", "server/Dockerfile.IN"])("%s would be preprocessed by the engine", async name => {
    await expect(stage(name, name)).rejects.toMatchObject({
      code: "invalid-submission",
      message: expect.stringContaining("preprocessed"),
      hint: expect.stringContaining(".in"),
    })
  })
})
