"use strict";
// One problem's figures at a time; the tree below follows the choice where it has that problem.
document.getElementById("problem-choice").addEventListener("change", (event) => {
  for (const block of document.querySelectorAll(".problem")) {
    block.hidden = block.dataset.problem !== event.target.value;
  }
  const tree = document.getElementById("tree-problem"), name = event.target.selectedOptions[0].textContent;
  if (!tree || ![...tree.options].some((option) => option.value === name)) return;
  tree.value = name;
  tree.dispatchEvent(new Event("change"));
});
