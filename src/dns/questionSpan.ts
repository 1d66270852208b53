import { withOutcomeSpan } from "../loops/outcomeSpan.ts"
import type { TunnelAnswer } from "./tunnelAnswer.ts"

/** The trace of a client's question, whoever serves it: it begins here, and fails where the answer is that the server did. */
export const questionSpan = withOutcomeSpan<TunnelAnswer>(
  "ControlPlane.question",
  { root: true, kind: "server" },
  (answer) => (answer._tag === "ServerFailure" ? (answer.error?.text ?? "no answer") : null)
)
