import { clipText } from "@envidence/core"

/** What kept an environment from being observed: a finding about the environment, kept as data. */
export type ProblemCode =
  | "container-does-not-start"
  | "container-exited"
  | "not-ready"
  | "no-websocket"
  | "not-openenv"
  | "capacity-reached"
  | "factory-error"
  | "session-error"
  | "execution-error"
  | "validation-error"
  | "protocol-error"
  | "invalid-json"
  | "message-too-large"
  | "connection-closed"
  | "timeout"
  | "unasked-frame"
  | "null-reward"
  | "no-schema"
  | "unsupported-action-space"
  | "runs-as-root"

export interface Problem {
  readonly code: ProblemCode
  readonly because: string
}

/** Thrown inside an observation and caught at its edge, where it becomes one of its problems. */
export class EnvironmentProblem extends Error {
  override readonly name = "EnvironmentProblem"
  readonly code: ProblemCode

  constructor(code: ProblemCode, because: string) {
    super(clipText(because, 1024))
    this.code = code
  }

  get problem(): Problem {
    return { code: this.code, because: this.message }
  }
}
