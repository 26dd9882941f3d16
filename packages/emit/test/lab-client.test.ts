import { EnvironmentProblem, EnvironmentSession, fetchSchema } from "@envidence/emit"
import { afterEach, describe, expect, it } from "vitest"
import { type FakeEnvironment, type FakeOptions, failure, fakeEnvironment, observation } from "./fake-environment.js"

let fake: FakeEnvironment | undefined

afterEach(async () => {
  await fake?.close()
  fake = undefined
})

const limits = { connectSeconds: 1, messageSeconds: 0.3, messageBytes: 2048 }
const reset = { seed: 1, episodeId: "e" }

async function open(options: FakeOptions, signal?: AbortSignal): Promise<EnvironmentSession> {
  fake = await fakeEnvironment(options)
  return EnvironmentSession.open({ ...fake, limits, ...(signal ? { signal } : {}) })
}

async function codeOf(action: Promise<unknown>): Promise<string> {
  const error = await action.then(
    () => "no problem",
    error => error,
  )
  if (error === "no problem" || !(error instanceof EnvironmentProblem)) throw error
  expect(error.problem.because.length).toBeGreaterThan(5)
  return error.code
}

describe("a session", () => {
  it("speaks the stock client's frames", async () => {
    const seen: string[] = []
    const session = await open({
      connect: () => (text, socket) => {
        seen.push(text)
        if (text.includes("state")) socket.send('{"type":"state","data":{"step_count":1}}')
        else socket.send(observation({ x: 1 }, text.includes("step") ? 0.5 : null))
      },
    })
    expect((await session.reset(reset)).receive.data).toEqual({ observation: { x: 1 }, reward: null, done: false })
    expect((await session.step({ move: "up" })).receive.data.reward).toBe(0.5)
    await session.state()
    await session.close()
    expect(seen).toEqual([
      '{"type":"reset","data":{"seed":1,"episode_id":"e"}}',
      '{"type":"step","data":{"move":"up"}}',
      '{"type":"state"}',
      '{"type":"close"}',
    ])
    expect(fake?.headers()).toMatchObject({
      host: "localhost:8000",
      "user-agent": expect.stringContaining("websockets"),
    })
  })

  it("refuses a null step reward and names both causes", async () => {
    const session = await open({ connect: () => (_, socket) => socket.send(observation({})) })
    await session.reset(reset)
    const error = await session.step({}).catch(error => error)
    expect(error).toMatchObject({ code: "null-reward", message: expect.stringMatching(/gave none.*NaN/) })
    await session.close()
  })

  it.each([
    ["CAPACITY_REACHED", "capacity-reached"],
    ["FACTORY_ERROR", "factory-error"],
    ["SOMETHING_NEW", "protocol-error"],
  ])("takes an unasked %s for the answer to its first request", async (code, problem) => {
    const session = await open({
      connect: socket => {
        socket.send(failure(code, { active_sessions: 8, max_sessions: 8 }))
        socket.close(1000)
        return () => {}
      },
    })
    await new Promise(resolve => setTimeout(resolve, 50))
    expect(await codeOf(session.reset(reset))).toBe(problem)
    await session.close()
  })

  const answers: readonly (readonly [
    string,
    string,
    (socket: Parameters<NonNullable<FakeOptions["connect"]>>[0]) => void,
  ])[] = [
    ["validation-error", "a refused action", socket => socket.send(failure("VALIDATION_ERROR"))],
    ["execution-error", "an exception", socket => socket.send(failure("EXECUTION_ERROR"))],
    ["session-error", "a session error", socket => socket.send(failure("SESSION_ERROR"))],
    ["invalid-json", "NaN as a number", socket => socket.send('{"type":"observation","data":{"reward":NaN}}')],
    ["invalid-json", "a key twice", socket => socket.send('{"type":"error","type":"state"}')],
    ["invalid-json", "bytes", socket => socket.send(Buffer.from([0xff, 0xfe]))],
    ["protocol-error", "a list", socket => socket.send("[]")],
    ["protocol-error", "no done", socket => socket.send('{"type":"observation","data":{"observation":{},"reward":1}}')],
    ["protocol-error", "text as reward", socket => socket.send(observation({}, "1"))],
    ["message-too-large", "too much", socket => socket.send(observation({ x: "y".repeat(4096) }, 1))],
    ["connection-closed", "a close", socket => socket.close(1012)],
    ["connection-closed", "a cut", socket => socket.terminate()],
    ["timeout", "silence", () => {}],
  ]
  it.each(answers)("makes %s of %s", async (code, _, answer) => {
    const session = await open({ connect: () => (text, socket) => void (text.includes("reset") && answer(socket)) })
    expect(await codeOf(session.reset(reset))).toBe(code)
    await session.close()
  })

  it("refuses frames that nothing asked for, and cuts a flood", async () => {
    const session = await open({
      connect: () => (_, socket) => {
        for (let i = 0; i < 40; i++) socket.send(observation({ i }, 1))
      },
    })
    await session.reset(reset)
    await new Promise(resolve => setTimeout(resolve, 50))
    expect(await codeOf(session.step({}))).toBe("unasked-frame")
    await session.close()
  })

  it("ends at once when interrupted", async () => {
    const controller = new AbortController()
    const session = await open({}, controller.signal)
    const waiting = session.reset(reset)
    controller.abort()
    await expect(waiting).rejects.toMatchObject({ code: "interrupted" })
    await session.close()
  })
})

describe("what is no OpenEnv server", () => {
  it("is told from its /ws", async () => {
    expect(await codeOf(open({ websocket: false }))).toBe("no-websocket")
  })

  it("may be starting still", async () => {
    const request: FakeOptions["request"] = (_, response) => response.writeHead(503).end()
    expect(await codeOf(open({ websocket: false, request }))).toBe("connection-closed")
    await fake?.close()
    expect(await codeOf(EnvironmentSession.open({ socketPath: "/nonexistent.sock", port: 1 }))).toBe(
      "connection-closed",
    )
  })
})

describe("the schema", () => {
  const serve = async (body: string, status = 200) => {
    fake = await fakeEnvironment({ request: (_, response) => response.writeHead(status).end(body) })
    return fetchSchema({ ...fake, limits })
  }

  it("is fetched", async () => expect(await serve('{"action":{}}')).toEqual({ action: {} }))

  it.each([
    ["another status", "{}", 404],
    ["no object", "[]", 200],
    ["no JSON", "<html>", 200],
    ["too much", `{"x":"${"y".repeat(1_100_000)}"}`, 200],
    ["too deep", "[".repeat(5000), 200],
  ])("is refused with %s", async (_, body, status) => expect(await codeOf(serve(body, status))).toBe("no-schema"))

  it("is refused when it does not come", async () => {
    fake = await fakeEnvironment({ request: () => {} })
    expect(await codeOf(fetchSchema({ ...fake, limits }))).toBe("no-schema")
  })
})
