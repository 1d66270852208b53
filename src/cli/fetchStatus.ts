import { askGateway } from "./ControlClient.ts"
import { StatusReport } from "./statusReport.ts"

/** What the gateway at the control socket says of itself. */
export const fetchStatus = (socket: string) => askGateway(socket, { method: "GET", path: "/v1/status" }, StatusReport)
