// Images of a real registry: who may read them, and by what.
import { writeFileSync } from "node:fs"
import { join } from "node:path"
import {
  inventoriesOf,
  inventoryImage,
  type OpenedImage,
  openImage,
  openOciLayout,
  parseImageReference,
} from "@envidence/oci"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { refusal } from "../../packages/oci/test/layers.ts"
import { newFixture } from "../bundles/fixture.ts"
import { newFolder, removeFolders } from "../bundles/state.ts"
import { runVerify, writeTemporary } from "../bundles/verifying.ts"
import { type Distribution, missingRegistry, pushLayout, startDistribution } from "./distribution.ts"
import { ISSUER, SERVICE, startTokenServer, type TokenServer } from "./token-server.ts"

const PASSWORD = "opensesame"
// htpasswd -nbBC 4 alice opensesame
const HTPASSWD = "alice:$2b$04$xRM.3YQo1hkWLHa74Cd8heO4TKf07hnWivJLbGesuLii0VCojRDfi\n"
const why = missingRegistry === "" ? "" : ` (skipped: there is no ${missingRegistry})`

const basic = (password = PASSWORD) => Buffer.from(`alice:${password}`).toString("base64")
const loggedIn = (host: string, password = PASSWORD): Record<string, string> => ({
  HOME: "/nonexistent",
  REGISTRY_AUTH_FILE: writeTemporary("auth.json", JSON.stringify({ auths: { [host]: { auth: basic(password) } } })),
})
const nobody = { HOME: "/nonexistent" }

function open(text: string, env: Record<string, string> = nobody): Promise<OpenedImage> {
  return openImage(parseImageReference(text), { env, temporaryDirectory: newFolder() })
}

describe.skipIf(missingRegistry !== "")(`a real registry${why}`, async () => {
  const { state, bundle, keyFile } = await newFixture()
  const folder = await openOciLayout(state.imageDirectory)
  const expected = inventoriesOf(await inventoryImage(folder))
  const started: { stop(): Promise<void> }[] = []
  afterAll(async () => {
    for (const each of started) await each.stop()
    removeFolders()
  })
  const start = async (auth: object | null): Promise<Distribution> => {
    const registry = await startDistribution(auth)
    started.push(registry)
    return registry
  }
  const expectImage = async (image: OpenedImage) => {
    expect(image.manifestDigest).toBe(state.imageDigest)
    expect(inventoriesOf(await inventoryImage(image))).toEqual(expected)
  }

  describe("that is open to all", () => {
    let host: string
    beforeAll(async () => {
      host = (await start(null)).host
      await pushLayout(state.imageDirectory, host, { repository: "a/tiny", tag: "1" })
    })
    test("gives what was pushed, by tag and by digest", async () => {
      await expectImage(await open(`${host}/a/tiny:1`))
      await expectImage(await open(`${host}/a/tiny@${state.imageDigest}`))
      await expectImage(await open(`${host}/a/tiny:other@${state.imageDigest}`))
    })
    test("does not know others", async () => {
      for (const name of ["a/tiny:2", "a/other:1", `a/tiny@sha256:${"0".repeat(64)}`])
        expect((await refusal(open(`${host}/${name}`))).code).toBe("input-not-found")
    })
    test("serves for verifying, and the report names the digest that the tag had", async () => {
      const args = ["--key", keyFile, "--policy", "demo", "--format", "json", "--image", `${host}/a/tiny:1`]
      const file = writeTemporary("evidence-bundle.tar.gz", bundle)
      const { exitCode, stdout, stderr } = await runVerify([file, ...args], { env: nobody })
      expect([exitCode, stderr]).toEqual([0, ""])
      const because = `it is the image that the verifier named: ${state.imageDigest}`
      expect(JSON.parse(stdout).bindings).toContainEqual({ id: "expected-image", outcome: "holds", because })
      const offline = await runVerify([file, ...args, "--offline"])
      expect([offline.exitCode, offline.stdout]).toEqual([2, ""])
    })
    test("that is no registry any more", async () => {
      const error = await refusal(
        openImage(parseImageReference("127.0.0.1:9/a:1"), {
          env: nobody,
          temporaryDirectory: "",
          timing: { backoff: 1 },
        }),
      )
      expect(error.code).toBe("registry-failed")
    })
  })

  describe("that wants a password", () => {
    let host: string
    beforeAll(async () => {
      const path = join(newFolder(), "htpasswd")
      writeFileSync(path, HTPASSWD)
      host = (await start({ htpasswd: { realm: "tests", path } })).host
      await pushLayout(state.imageDirectory, host, {
        repository: "a/tiny",
        tag: "1",
        authorization: `Basic ${basic()}`,
      })
    })
    test("gives to who has it", async () => {
      await expectImage(await open(`${host}/a/tiny:1`, loggedIn(host)))
    })
    test("and to nobody else: neither is the password said", async () => {
      for (const env of [nobody, loggedIn(host, "wrong-password"), loggedIn("example.com")]) {
        const error = await refusal(open(`${host}/a/tiny:1`, env))
        expect([error.code, error.hint]).toEqual(["registry-failed", expect.stringMatching(/[Ll]og in/)])
        expect(`${error.stack}${error.hint}`).not.toMatch(/wrong-password|opensesame/)
      }
    })
  })

  describe("that wants a token", () => {
    let host: string
    let tokens: TokenServer
    const close: (() => void)[] = []
    const startWithTokens = async (password: string | null) => {
      const server = await startTokenServer(password)
      close.push(server.close)
      const jwks = writeTemporary("jwks.json", JSON.stringify(server.jwks))
      const auth = {
        token: { realm: server.url, service: SERVICE, issuer: ISSUER, jwks, signingalgorithms: ["ES256"] },
      }
      const registry = await start(auth)
      const url = `${server.url}?service=${SERVICE}&scope=repository:a/tiny:pull,push`
      const headers: Record<string, string> = password === null ? {} : { authorization: `Basic ${basic()}` }
      const { token } = (await (await fetch(url, { headers })).json()) as { token: string }
      const where = { repository: "a/tiny", tag: "1", authorization: `Bearer ${token}` }
      await pushLayout(state.imageDirectory, registry.host, where)
      server.asked.length = 0
      return { host: registry.host, tokens: server }
    }
    afterAll(() => {
      for (const each of close) each()
    })
    test("gives one to everyone, as Docker Hub does", async () => {
      ;({ host, tokens } = await startWithTokens(null))
      await expectImage(await open(`${host}/a/tiny:1`))
      expect(tokens.asked).toEqual([{ scope: "repository:a/tiny:pull", user: null }])
    })
    test("gives one to who has the password", async () => {
      ;({ host, tokens } = await startWithTokens(PASSWORD))
      await expectImage(await open(`${host}/a/tiny:1`, loggedIn(host)))
      expect(tokens.asked).toEqual([{ scope: "repository:a/tiny:pull", user: "alice" }])
      for (const env of [nobody, loggedIn(host, "wrong-password")])
        expect((await refusal(open(`${host}/a/tiny:1`, env))).code).toBe("registry-failed")
    })
    test("gives another where one has ended", async () => {
      ;({ host, tokens } = await startWithTokens(PASSWORD))
      // The registry allows a minute's difference of clocks.
      tokens.lifetime = -50
      const image = await open(`${host}/a/tiny:1`, loggedIn(host))
      const before = tokens.asked.length
      await new Promise(resolve => setTimeout(resolve, 11_000))
      tokens.lifetime = 300
      await expectImage(image)
      expect(tokens.asked.length).toBe(before + 1)
    }, 40_000)
  })
})
