// Many clients at once against the proxy, on nothing but Node's own HTTP. Each has a number and a way to behave:
// some wait, some read a stream to its end, and some leave in the middle of things.
//
//   node clients.mjs BASE_URL FIRST COUNT [MANNER]
//
// Writes one line of JSON when all have ended: what became of each number, by the manner of its client.
import http from "node:http";

const [base, first, count, only] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4]), process.argv[5]];
const manners = ["waits", "streams", "calls_tools", "leaves", "leaves_stream", "sends_half"];
const agent = new http.Agent({ maxSockets: Infinity });
const tool = {
  type: "function",
  function: {
    name: "get_weather",
    description: "Weather.",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
  },
};

function bodyOf(manner, number) {
  const messages = [{ role: "user", content: `number ${number}.` }];
  const model = "Qwen/Qwen3.5-9B";
  if (manner === "waits" || manner === "leaves" || manner === "sends_half") return ["/chat/completions", { model, messages }];
  if (manner === "calls_tools")
    return ["/chat/completions", { model, messages, stream: true, tools: [tool], tool_choice: "required" }];
  return ["/responses", { model, input: messages[0].content, stream: true }];
}

function judge(manner, number, status, text) {
  if (manner === "leaves") return "left"; // the answer was quicker
  if (status !== 200) return `status ${status}: ${text.slice(0, 300)}`;
  const own = `number ${number}.`;
  if (manner === "waits") return JSON.parse(text).choices[0].message.content.includes(own) ? "answered" : "wrong answer";
  const events = text.split("\n").filter((line) => line.startsWith("data: ")).map((line) => line.slice(6));
  if (manner === "calls_tools") {
    if (events.pop() !== "[DONE]") return "no end";
    const deltas = events.flatMap((event) => JSON.parse(event).choices.map((choice) => choice.delta));
    return deltas.some((delta) => delta.tool_calls?.[0].function.name === "get_weather") ? "answered" : "no tool call";
  }
  const last = JSON.parse(events.at(-1));
  if (last.type !== "response.completed") return `ended with ${last.type}`;
  return JSON.stringify(last.response.output).includes(own) ? "answered" : "wrong answer";
}

function client(number) {
  const manner = only ?? manners[number % manners.length];
  const [path, body] = bodyOf(manner, number);
  const content = JSON.stringify(body);
  return new Promise((resolve) => {
    const end = (outcome) => resolve([manner, number, outcome]);
    const request = http.request(base + path, {
      agent,
      method: "POST",
      headers: { "content-type": "application/json", "content-length": Buffer.byteLength(content) },
    });
    const leave = () => {
      request.destroy();
      end("left");
    };
    request.on("error", (error) => end(`error ${error.code ?? error.message}`));
    request.on("response", (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (chunk) => {
        text += chunk;
        if (manner === "leaves_stream") leave();
      });
      response.on("error", (error) => end(`broken ${error.code ?? error.message}`));
      response.on("end", () => end(judge(manner, number, response.statusCode, text)));
    });
    if (manner === "sends_half") {
      request.write(content.slice(0, content.length / 2));
      setTimeout(leave, 200 + (number % 7) * 100);
      return;
    }
    request.end(content);
    if (manner === "leaves") setTimeout(leave, 100 + (number % 11) * 100);
  });
}

const outcomes = await Promise.all(Array.from({ length: count }, (_, index) => client(first + index)));
agent.destroy();
const told = {};
for (const [manner, number, outcome] of outcomes) ((told[manner] ??= {})[outcome] ??= []).push(number);
console.log(JSON.stringify(told));
