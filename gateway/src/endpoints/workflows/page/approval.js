"use strict";
// The link's token stands for the person. A decision is a POST: whatever opens the link alone decides nothing.
const id = decodeURIComponent(location.pathname.split("/").pop());
const token = new URLSearchParams(location.search).get("token") ?? "";
const api = `/api/v1/approvals/${encodeURIComponent(id)}`;
const query = `?token=${encodeURIComponent(token)}`;
const part = (name) => document.getElementById(name);

const show = (approval) => {
  part("message").textContent = approval.message;
  const due = approval.due_at ? `, until ${new Date(approval.due_at).toLocaleString()}` : "";
  part("facts").textContent =
    `${approval.workflow_tag ?? "A workflow"} of ${approval.owner} asks${due}. It is ${approval.status}.`;
  if (approval.context !== null && JSON.stringify(approval.context) !== "{}") {
    part("context").textContent = JSON.stringify(approval.context, null, 2);
    part("context").hidden = false;
  }
  part("data_row").hidden = approval.form === null;
  part("form").hidden = approval.status !== "pending";
};

const ask = async (path, options) => {
  const answer = await fetch(path, options);
  const body = await answer.json();
  if (!answer.ok) throw new Error(body.detail ?? `HTTP ${answer.status}`);
  return body;
};

const told = (error) => { part("outcome").textContent = error.message; };

part("form").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    const given = part("data").value.trim();
    const said = {
      approved: event.submitter.value === "yes",
      comment: part("comment").value,
      data: given ? JSON.parse(given) : null,
    };
    show(await ask(`${api}/decide${query}`, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(said),
    }));
    part("outcome").textContent = "Your decision is recorded.";
  } catch (error) {
    told(error);
  }
});

ask(api + query).then(show, told);
