import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { findLinkOut } from "@envidence/oci"
import { afterEach, beforeEach, expect, it } from "vitest"

let context: string
beforeEach(() => {
  context = mkdtempSync(join(tmpdir(), "links-"))
  mkdirSync(join(context, "a", "b"), { recursive: true })
})
afterEach(() => rmSync(context, { recursive: true, force: true }))

const link = (path: string, target: string) => symlinkSync(target, join(context, path))

it.each([
  ["l", "/etc"],
  ["l", "/does/not/exist"],
  ["l", ".."],
  ["a/b/l", "../../.."],
  ["a/l", "b/../../.."],
  ["a/l", "../a/b/../../../x"],
])("%s -> %s leads out", async (path, target) => {
  link(path, target)
  expect(await findLinkOut(context)).toEqual({ path, target })
})

it("finds what only several links together reach", async () => {
  link("a/b/up", "..")
  link("l", "a/b/up/up2")
  link("a/up2", "../a/b/up/../..")
  expect(await findLinkOut(context)).toEqual(expect.objectContaining({ path: expect.any(String) }))
})

it("lets links be that stay inside, dangling ones too", async () => {
  link("l", "a/b/../gone")
  link("a/b/up", "../../l")
  link("self", "./a/./b")
  expect(await findLinkOut(context)).toBeUndefined()
})

it("takes a circle for one that leads out", async () => {
  link("one", "two")
  link("two", "one")
  expect(await findLinkOut(context)).toEqual(expect.objectContaining({ path: expect.any(String) }))
})
