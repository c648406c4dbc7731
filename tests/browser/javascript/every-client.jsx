import { createRoot } from "react-dom/client";
import { Page, told } from "./every.jsx";

window.told = told;
const given = JSON.parse(document.getElementById("given").textContent);
createRoot(document.getElementById("root")).render(<Page {...given} />);
