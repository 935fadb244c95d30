package localplatform

import (
	"encoding/json"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
)

// routes builds the API of an era. Routes that an era has removed answer 410 and
// name their replacement; those that it does not have yet answer 404.
func (p *Platform) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { refuse(w, http.StatusNotFound, "Not Found") })
	if p.opt.Era == Models || p.opt.Era == Both {
		p.oldRoutes(mux)
	} else {
		for _, old := range []string{"/models", "/models/", "/trainings/", "/uploads/"} {
			mux.HandleFunc(old, func(w http.ResponseWriter, _ *http.Request) {
				refuse(w, http.StatusGone, "This route was removed: use /slms")
			})
		}
	}
	if p.opt.Era != Models {
		p.newRoutes(mux)
	}
	return p.authorize(mux)
}

// oldRoutes are those of models and trainings.
func (p *Platform) oldRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET /models", func(w http.ResponseWriter, r *http.Request) {
		out := []any{}
		for _, m := range p.Models() {
			if !m.replaced {
				out = append(out, oldModel(&m))
			}
		}
		reply(w, http.StatusOK, out)
	})
	mux.HandleFunc("GET /models/{id}", p.one(byModel, func(w http.ResponseWriter, _ *http.Request, m *Model) {
		reply(w, http.StatusOK, oldModel(m))
	}))
	mux.HandleFunc("GET /trainings/{id}/status", p.one(byTraining, func(w http.ResponseWriter, _ *http.Request, m *Model) {
		reply(w, http.StatusOK, map[string]string{"status": m.Status})
	}))
	mux.HandleFunc("GET /trainings/{id}/model", p.one(byTraining, p.ready(func(w http.ResponseWriter, r *http.Request, m *Model) {
		address := p.link(r, m, m.Shape+".tar")
		switch key := p.opt.URLKey; key {
		case "bare":
			reply(w, http.StatusOK, address)
		case "":
			reply(w, http.StatusOK, map[string]any{"s3_url": address})
		default:
			reply(w, http.StatusOK, map[string]any{key: address})
		}
	})))
	mux.HandleFunc("GET /trainings/{id}/evaluation-results", p.one(byTraining, p.ready(func(w http.ResponseWriter, r *http.Request, m *Model) {
		metrics := m.metrics()
		reply(w, http.StatusOK, map[string]any{
			"message":            "Evaluation finished",
			"evaluation_results": map[string]any{"teacher": nil, "student-base": metrics["base_model_performance"], "student-tuned": metrics["tuned_model_performance"]},
			"finetuned_student_evaluation_predictions_download_url": p.link(r, m, "predictions.jsonl"),
			"base_student_evaluation_predictions_download_url":      nil,
		})
	})))
	if p.opt.Era == Both {
		mux.HandleFunc("GET /uploads/{id}/download", p.one(byUpload, p.data))
	}
}

// newRoutes are those of SLMs.
func (p *Platform) newRoutes(mux *http.ServeMux) {
	mux.HandleFunc("GET /slms", p.listSLMs)
	mux.HandleFunc("GET /slms/{id}", p.one(p.bySLM, func(w http.ResponseWriter, _ *http.Request, m *Model) {
		item := p.slm(m)
		item["status"] = m.Status
		reply(w, http.StatusOK, item)
	}))
	mux.HandleFunc("GET /slms/{id}/status", p.one(p.bySLM, func(w http.ResponseWriter, _ *http.Request, m *Model) {
		reply(w, http.StatusOK, map[string]string{"status": m.Status})
	}))
	mux.HandleFunc("GET /slms/{id}/metrics", p.one(p.bySLM, p.ready(func(w http.ResponseWriter, r *http.Request, m *Model) {
		metrics := maps.Clone(m.metrics())
		metrics["predictions_download_url"] = p.link(r, m, "predictions.jsonl")
		reply(w, http.StatusOK, metrics)
	})))
	mux.HandleFunc("GET /slms/{id}/download", p.one(p.bySLM, p.ready(func(w http.ResponseWriter, r *http.Request, m *Model) {
		reply(w, http.StatusOK, map[string]any{"model_url": p.whenReady(m, p.link(r, m, m.Shape+".tar")), "config_url": p.link(r, m, "config.yaml")})
	})))
	mux.HandleFunc("GET /slms/{id}/download-metadata", p.one(p.bySLM, func(w http.ResponseWriter, r *http.Request, m *Model) {
		reply(w, http.StatusOK, map[string]any{
			"config_url": p.link(r, m, "config.yaml"), "job_description_url": p.link(r, m, "job_description.json"),
			"model_client_url": p.whenReady(m, p.link(r, m, "model_client.py")),
		})
	}))
	mux.HandleFunc("GET /credits/endpoints", func(w http.ResponseWriter, _ *http.Request) {
		p.mu.Lock()
		defer p.mu.Unlock()
		reply(w, http.StatusOK, map[string]any{"balances": map[string]int{"training_datasets_download": p.credits}})
	})
	switch p.opt.Era {
	case Datasets:
		mux.HandleFunc("GET /datasets", p.listDatasets("parent_dataset_id"))
		mux.HandleFunc("GET /datasets/{id}/download", p.one(byDataset, p.data))
	default:
		mux.HandleFunc("GET /training-datasets", p.listDatasets("seed_dataset_id"))
		mux.HandleFunc("GET /training-datasets/{id}/download", p.one(byDataset, p.metered))
	}
}

// listSLMs is newest first. Items have no name and no status.
func (p *Platform) listSLMs(w http.ResponseWriter, r *http.Request) {
	list := p.Models()
	if p.opt.Paged {
		start, _ := strconv.Atoi(r.URL.Query().Get("start")) // absent or wrong is 0
		count, err := strconv.Atoi(r.URL.Query().Get("count"))
		if err != nil || count < 0 || count > 100 {
			count = 100
		}
		start = min(max(start, 0), len(list))
		list = list[start:min(start+count, len(list))]
	}
	out := []any{}
	for _, m := range list {
		if m.Training != "" {
			out = append(out, p.slm(&m))
		}
	}
	reply(w, http.StatusOK, out)
}

// listDatasets is newest first; an item names what it was made from under a key.
func (p *Platform) listDatasets(key string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		out := []any{}
		seen := map[string]bool{}
		for _, m := range p.Models() {
			if seen[m.Dataset] {
				continue
			}
			seen[m.Dataset] = true
			item := map[string]any{"id": m.Dataset, "created_at": m.Created.Format("2006-01-02T15:04:05.000000"), "operation": "direct_upload"}
			if m.Parent != "" {
				item["operation"], item[key] = "generate_synthetic_data_train", m.Parent
			}
			out = append(out, item)
		}
		reply(w, http.StatusOK, out)
	}
}

// slm is the item of a list.
func (p *Platform) slm(m *Model) map[string]any {
	item := map[string]any{"id": p.slmID(m), "created_at": m.Created.Format("2006-01-02T15:04:05.000000"), "source": "training_dataset"}
	key := "training_dataset_id"
	if p.opt.Era == Datasets {
		key = "dataset_id"
	}
	item[key] = m.Dataset
	return item
}

// slmID is the training's while there are both, else the model's.
func (p *Platform) slmID(m *Model) string {
	if p.opt.Era == Both {
		return m.Training
	}
	return m.ID
}

func oldModel(m *Model) map[string]any {
	var training, results any
	if m.Training != "" {
		training = map[string]string{"id": m.Training, "status": m.Status}
	}
	if m.Status == "JOB_SUCCESS" {
		results = map[string]any{"student-tuned": m.metrics()["tuned_model_performance"]}
	}
	return map[string]any{
		"id": m.ID, "name": m.Name, "created_at": m.Created.Format("2006-01-02T15:04:05.000000Z"), "training": training, "upload_ids": []string{m.Upload},
		"teacher_evaluation_ids": []string{}, "prepared_traces_ids": []string{}, "training_status": m.Status, "evaluation_results": nil,
		"training_evaluation_results": results, "task_details": nil,
	}
}

type handler func(http.ResponseWriter, *http.Request, *Model)

// one finds the model that a route is about.
func (p *Platform) one(is func(*Model, string) bool, h handler) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for _, m := range p.Models() {
			if is(&m, r.PathValue("id")) {
				h(w, r, &m)
				return
			}
		}
		refuse(w, http.StatusNotFound, "Not Found")
	}
}

func byModel(m *Model, id string) bool             { return m.ID == id && !m.replaced }
func byTraining(m *Model, id string) bool          { return m.Training == id && id != "" }
func byUpload(m *Model, id string) bool            { return m.Upload == id }
func byDataset(m *Model, id string) bool           { return m.Dataset == id }
func (p *Platform) bySLM(m *Model, id string) bool { return p.slmID(m) == id && id != "" }

// ready refuses what a training that is not finished does not have.
func (p *Platform) ready(h handler) handler {
	return func(w http.ResponseWriter, r *http.Request, m *Model) {
		if m.Status != "JOB_SUCCESS" && !p.opt.NullUntilReady {
			refuse(w, http.StatusConflict, "Training is not finished: "+m.Status)
			return
		}
		h(w, r, m)
	}
}

func (p *Platform) whenReady(m *Model, address any) any {
	if m.Status != "JOB_SUCCESS" {
		return nil
	}
	return address
}

// metrics reads metrics.json; without one, nothing was measured.
func (m *Model) metrics() map[string]any {
	out := map[string]any{"base_model_performance": nil, "tuned_model_performance": nil}
	if m.dir == "" || m.Status != "JOB_SUCCESS" {
		return out
	}
	data, err := os.ReadFile(filepath.Join(m.dir, "metrics.json"))
	if err == nil {
		_ = json.Unmarshal(data, &out) // a damaged file measured nothing
	}
	return out
}

// data is where the dataset lies.
func (p *Platform) data(w http.ResponseWriter, r *http.Request, m *Model) {
	reply(w, http.StatusOK, map[string]any{
		"train_data_url": p.link(r, m, "train.jsonl"), "test_data_url": p.link(r, m, "test.jsonl"), "traces_url": nil,
		"config_url": p.link(r, m, "config.yaml"), "job_description_url": p.link(r, m, "job_description.json"),
	})
}

// metered is data for a credit.
func (p *Platform) metered(w http.ResponseWriter, r *http.Request, m *Model) {
	p.mu.Lock()
	paid := p.credits > 0
	if paid {
		p.credits--
	}
	p.mu.Unlock()
	if !paid {
		refuse(w, http.StatusPaymentRequired, "No credits left for GET /training-datasets/{id}/download")
		return
	}
	p.data(w, r, m)
}
